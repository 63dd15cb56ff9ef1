//! What the compiler refuses, and how it says so: one folder of `ui` for each theme.
//!
//! The messages are pinned to the compiler that made them (`rust-version` of CI); `TRYBUILD=overwrite cargo test -p compile-fail`
//! writes them again, and the difference is for a person to read.

/// N1 N2: every row of "What the compiler refuses".
#[test]
fn mistakes_are_refused_with_a_fix() {
    let cases = trybuild::TestCases::new();
    for theme in ["parameter", "template", "option", "form", "type", "call"] {
        cases.compile_fail(format!("tests/ui/{theme}/*.rs"));
    }
}
