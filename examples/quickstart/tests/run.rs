//! Runs the program as a user does: exit codes, what it prints, and that its check for stale reads can fail.

use std::process::{Command, Output};

fn quickstart(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the program starts")
}

/// Nothing of the caller's environment changes what it does.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quickstart"));
    command.args(arguments).env_remove("QUICKSTART_BREAK_INVALIDATION");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CACHE_")) {
        command.env_remove(name);
    }
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The two numbers in the line of this name: without and with the cache.
fn numbers(output: &Output, name: &str) -> (u64, u64) {
    let all = text(&output.stdout);
    let line =
        all.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_else(|| panic!("no `{name}` in\n{all}"));
    let mut numbers =
        line.trim_start()[name.len()..].split_whitespace().map(|word| word.replace(',', "").parse().expect("a number"));
    (numbers.next().expect("a number"), numbers.next().expect("two numbers"))
}

#[test]
fn no_read_is_stale_on_either_engine() {
    for engine in ["quick_cache", "moka"] {
        let output = quickstart(&["--seconds", "1", "--tasks", "16", "--users", "1000", "--engine", engine]);
        assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(numbers(&output, "stale reads after a write"), (0, 0));
        let (without, with) = numbers(&output, "rows read and checked");
        assert!(without > 0 && with > 0);
        let (without, with) = numbers(&output, "database queries per 1,000 reads");
        assert!(with < without, "the cache saved no query: {without} and {with}");
        assert!(text(&output.stdout).contains(&format!("engine {engine}")));
        assert!(text(&output.stdout).contains("misspelt tags: none"));
    }
}

#[test]
fn broken_invalidation_is_seen() {
    let output = command(&["--seconds", "1", "--tasks", "16", "--users", "1000"])
        .env("QUICKSTART_BREAK_INVALIDATION", "1")
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(1), "{}{}", text(&output.stdout), text(&output.stderr));
    let (without, with) = numbers(&output, "stale reads after a write");
    assert_eq!(without, 0, "without the cache nothing can be stale");
    assert!(with > 0);
    assert!(text(&output.stdout).contains("had been written"), "{}", text(&output.stdout));
}

#[test]
fn what_cannot_be_used_is_named() {
    for (arguments, named) in [
        (&["--engine", "memcached"][..], "quick_cache"),
        (&["--seconds", "0"], "--seconds"),
        (&["--tasks", "many"], "--tasks"),
        (&["--task", "3"], "--tasks"),
        (&["--users", "0"], "--users"),
    ] {
        let output = quickstart(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let error = text(&output.stderr);
        assert!(error.starts_with("error: ") && error.contains(named), "{error}");
    }
    let output = command(&[]).env("QUICKSTART_BREAK_INVALIDATION", "perhaps").output().expect("the program starts");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
}

/// P1, P4: on a real server, through a network that breaks.
#[tokio::test]
async fn chaos_makes_no_read_stale_and_is_drawn() {
    let server = cache_tests::redis::Server::start().await;
    let url = server.url();
    let run = move || quickstart(&["--chaos", "--url", &url, "--seconds", "8", "--tasks", "16", "--users", "500"]);
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{shown}{}", text(&output.stderr));
    assert_eq!(numbers(&output, "stale reads after a write"), (0, 0));
    for mark in ["sss", "rrr", "hhh", "xxx", "nnn", "half open"] {
        assert!(shown.contains(mark), "{shown}");
    }
}

#[test]
fn chaos_needs_a_server_and_shows_no_password() {
    for (url, named) in [("mem://", "--url redis://"), ("redis://:open-sesame@127.0.0.1:1", "127.0.0.1:1")] {
        let output = quickstart(&["--chaos", "--url", url]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(named) && !error.contains("sesame"), "{error}");
    }
}

#[test]
fn help_names_every_option() {
    let output = quickstart(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = text(&output.stdout);
    for option in [
        "--seconds",
        "--tasks",
        "--chaos",
        "--engine",
        "quick_cache, moka",
        "--users",
        "--seed",
        "QUICKSTART_BREAK_INVALIDATION",
    ] {
        assert!(help.contains(option), "no `{option}` in\n{help}");
    }
}
