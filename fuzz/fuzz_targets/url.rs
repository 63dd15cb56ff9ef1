#![no_main]
//! Any URL: used or refused, and no password is shown.

libfuzzer_sys::fuzz_target!(|data: &[u8]| cache_runtime::__fuzz::run("url", data));
