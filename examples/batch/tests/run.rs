//! Runs the program as a newcomer does, and looks at which queries it made.

use std::process::Command;

#[test]
fn only_missing_elements_are_asked_for() {
    let output = Command::new(env!("CARGO_BIN_EXE_batch")).env_remove("CACHE_URL").env_remove("REDIS_URL").output();
    let output = output.expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let queries: Vec<_> = text.lines().filter_map(|line| line.trim().strip_prefix("SELECT * FROM products ")).collect();
    assert_eq!(queries, ["WHERE id IN (1, 2, 3)", "WHERE id IN (4, 99)", "WHERE id IN (2)"], "{text}");
    assert!(text.contains("product 2 costs 5"), "{text}");
}
