#![no_main]
//! Any environment and file: used or refused by name, and no secret is shown.

libfuzzer_sys::fuzz_target!(|data: &[u8]| cache_runtime::__fuzz::run("config", data));
