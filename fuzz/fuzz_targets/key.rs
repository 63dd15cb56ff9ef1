#![no_main]
//! Any arguments of a function: keys are equal exactly if the arguments are.

libfuzzer_sys::fuzz_target!(|data: &[u8]| cache_runtime::__fuzz::run("key", data));
