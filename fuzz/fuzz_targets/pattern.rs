#![no_main]
//! A glob and a text: what matches here matches on the server.

libfuzzer_sys::fuzz_target!(|data: &[u8]| cache_runtime::__fuzz::run("pattern", data));
