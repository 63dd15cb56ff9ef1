//! Documents that name only what there is.
