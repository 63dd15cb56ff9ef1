//! Runs the program as a newcomer does, and looks at which queries it made.

use std::process::Command;

#[test]
fn what_a_write_returned_is_not_read_again() {
    let program = env!("CARGO_BIN_EXE_write-through");
    let output = Command::new(program).env_remove("CACHE_URL").env_remove("REDIS_URL").output();
    let output = output.expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let queries: Vec<_> = text.lines().filter(|line| line.trim().starts_with("SELECT")).map(str::trim).collect();
    let wanted = ["SELECT * FROM users WHERE id = 1", "SELECT name FROM users WHERE team = 'blue'"];
    assert_eq!(queries, wanted, "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("  =") && line.contains("Grace")).count(), 2, "{text}");
}
