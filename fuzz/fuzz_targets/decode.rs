#![no_main]
//! Any bytes, as an entry and as a value, with every codec, as some types, with keys and without.

libfuzzer_sys::fuzz_target!(|data: &[u8]| cache_runtime::__fuzz::run("decode", data));
