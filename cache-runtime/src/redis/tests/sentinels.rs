//! A primary that sentinels know.
