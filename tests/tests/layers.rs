//! placeholder
#[test] fn x() {}
