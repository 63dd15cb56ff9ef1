#![no_main]
//! Any template: accepted or refused, with the place of what is wrong in it. The parser knows nothing of the compiler.

#[path = "../../cache-macros/src/suggest.rs"]
#[allow(dead_code)]
mod suggest;
#[path = "../../cache-macros/src/template.rs"]
#[allow(dead_code)]
mod template;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match template::parse(text) {
        Ok(template) => assert!(!template.pieces.is_empty()),
        Err(problem) => assert!(text.get(problem.range.clone()).is_some(), "{problem:?}"),
    }
});
