//! Runs the program as a newcomer does. What is looked at holds on a busy machine too: how often the source was asked may
//! differ there, and so may who waited; that nobody got an error may not.

use std::process::Command;

#[test]
fn callers_get_a_value_although_the_source_is_down() {
    let program = env!("CARGO_BIN_EXE_background-refresh");
    let output = Command::new(program).env_remove("CACHE_URL").env_remove("REDIS_URL").output();
    let output = output.expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("the source was asked, and failed"), "{text}");
    let last = text.lines().find(|line| line.starts_with("the source is down")).expect("a line about it");
    assert!(last.contains("edition"), "{text}");
    assert!(text.contains("nothing there       : edition 1 after a wait"), "{text}");
}
