#![no_main]
//! Any bytes of the protocol, as the answer to each command, as a map of a cluster, and as a push.

libfuzzer_sys::fuzz_target!(|data: &[u8]| cache_runtime::__fuzz::run("answer", data));
