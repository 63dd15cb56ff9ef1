#![no_main]
//! Any bytes, as an entry and as a value, with every codec, as some types, with keys and without.
//!
//! `cargo +nightly fuzz run decode`. The stable twin is `codec::tests::random`, which begins with real entries.

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| cache_runtime::__fuzz::decode(data));
