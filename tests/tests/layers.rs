//! The layout keeps its promises: arrows between the runtime's modules point down only, siblings do not know each other,
//! the document shows the same table, time is read in one place, and no file is two things.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// DESIGN §3, as the modules are now. Within a layer a module may name those to its left, so that there is no circle.
const LAYERS: [(&str, &[&str]); 7] = [
    (
        "L0",
        &[
            "error",
            "sync",
            "clock",
            "timer",
            "report",
            "meter",
            "sabotage",
            "duration",
            "secret",
            "key",
            "tenant",
            "trace",
            "slot",
            "envelope",
            "background",
        ],
    ),
    ("L1", &["server", "store", "codec", "policy", "stats", "cell", "record", "shape", "site"]),
    ("L2", &["memory", "redis"]),
    ("L3", &["tags", "flight", "hybrid", "outbox"]),
    ("L4", &["engine"]),
    ("L5", &["config", "cache", "http"]),
    ("L6", &["private"]),
];

/// Pairs in one layer that may not name each other in either direction.
const STRANGERS: [(&str, &str); 1] = [("memory", "redis")];

/// The model checker's file, and the list of fuzz targets, see everything.
const EVERYTHING: [&str; 3] = ["lib", "model", "fuzz"];

const MAX_LINES: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every Rust file below `at`, build output aside.
fn rust_files(at: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            found.append(&mut rust_files(&path));
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The top-level module that a file of the runtime belongs to.
fn module(file: &Path) -> String {
    let below = file.strip_prefix(root().join("cache-runtime/src")).unwrap();
    below.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// Lines of code, numbered from 1: without comments, and without what is built for tests only.
fn code(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut test_module = false;
    let mut after_cfg_test = false;
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        if test_module {
            // A test module at the top level ends with a brace in the first column.
            test_module = !line.starts_with('}');
        } else if after_cfg_test && trimmed.starts_with("mod ") {
            test_module = !trimmed.ends_with(';');
        } else if !trimmed.starts_with("//") {
            lines.push((index + 1, line.split(" // ").next().unwrap_or_default().to_owned()));
        }
        after_cfg_test = trimmed.starts_with("#[cfg(") && trimmed.contains("test") && !trimmed.contains("testing");
    }
    lines
}

/// The top-level modules that a line names.
fn named(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for prefix in ["crate::", "cache_runtime::"] {
        for (at, _) in line.match_indices(prefix) {
            let before = line[..at].chars().next_back();
            if before.is_some_and(|before| before.is_alphanumeric() || before == '_' || before == '$') {
                continue;
            }
            let rest = &line[at + prefix.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                let group = group.split('}').next().unwrap_or_default();
                found
                    .extend(group.split(',').map(|name| name.trim().split("::").next().unwrap_or_default().to_owned()));
            } else {
                found.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
            }
        }
    }
    found
}

/// Layer and place in it.
fn place(module: &str) -> Option<(usize, usize)> {
    LAYERS
        .iter()
        .enumerate()
        .find_map(|(layer, (_, names))| names.iter().position(|name| *name == module).map(|place| (layer, place)))
}

fn modules() -> Vec<String> {
    let mut all: Vec<String> = rust_files(&root().join("cache-runtime/src")).iter().map(|file| module(file)).collect();
    all.dedup();
    all.retain(|module| !EVERYTHING.contains(&module.as_str()));
    all
}

/// DESIGN §3
#[test]
fn every_module_has_a_layer() {
    let missing: Vec<_> = modules().into_iter().filter(|module| place(module).is_none()).collect();
    assert!(missing.is_empty(), "give these modules a layer here and in docs/architecture.md: {missing:?}");
}

/// DESIGN §3
#[test]
fn arrows_between_modules_point_down_only() {
    let modules = modules();
    let mut violations = Vec::new();
    for file in rust_files(&root().join("cache-runtime/src")) {
        let from = module(&file);
        if EVERYTHING.contains(&from.as_str()) || file.ends_with("tests.rs") {
            continue;
        }
        let Some(here) = place(&from) else { continue };
        let top_level = file.parent().is_some_and(|parent| parent.ends_with("src"));
        for (number, line) in code(&fs::read_to_string(&file).unwrap()) {
            let at = format!("{}:{number}", file.strip_prefix(root()).unwrap().display());
            if top_level && line.starts_with("use super::") {
                violations.push(format!("{at}: `super` of a top-level module is the crate: say `crate::`"));
            }
            for to in named(&line) {
                if to == from || !modules.contains(&to) {
                    continue;
                }
                let strangers = STRANGERS.iter().any(|(a, b)| (from == *a && to == *b) || (from == *b && to == *a));
                if strangers || place(&to).is_some_and(|there| there >= here) {
                    violations.push(format!("{at}: `{from}` names `{to}`"));
                }
            }
        }
    }
    assert!(violations.is_empty(), "arrows that do not point down:\n{}", violations.join("\n"));
}

/// DESIGN §3: the map in the document is this one.
#[test]
fn the_architecture_document_shows_the_same_layers() {
    let text = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let modules = modules();
    let mut shown: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        let Some((layer, rest)) =
            line.split_once("  ").filter(|(layer, _)| LAYERS.iter().any(|(name, _)| name == layer))
        else {
            continue;
        };
        // Names are separated by dots in the middle; what follows two spaces explains them.
        let names = rest.split("  ").next().unwrap_or_default();
        let mut names: Vec<String> = names.split('·').map(|name| name.trim().replace("__private", "private")).collect();
        names.sort();
        shown.insert(layer, names);
    }
    for (layer, names) in LAYERS {
        let mut expected: Vec<String> = names
            .iter()
            .filter(|name| modules.iter().any(|module| module == *name))
            .map(|name| (*name).to_owned())
            .collect();
        expected.sort();
        assert_eq!(shown.get(layer), Some(&expected), "docs/architecture.md, {layer}");
    }
}

/// STYLE: past 600 lines a file is two things.
#[test]
fn no_file_is_over_600_lines() {
    let long: Vec<_> = rust_files(&root())
        .into_iter()
        .map(|file| (fs::read_to_string(&file).unwrap().lines().count(), file))
        .filter(|(lines, _)| *lines > MAX_LINES)
        .map(|(lines, file)| format!("{}: {lines}", file.strip_prefix(root()).unwrap().display()))
        .collect();
    assert!(long.is_empty(), "files over {MAX_LINES} lines:\n{}", long.join("\n"));
}

/// STYLE: a file says in its first lines what lives in it.
#[test]
fn every_file_begins_with_what_lives_in_it() {
    let silent: Vec<_> = rust_files(&root())
        .into_iter()
        .filter(|file| {
            let text = fs::read_to_string(file).unwrap();
            let first = text.lines().find(|line| !line.starts_with("#![") && !line.is_empty());
            !first.is_some_and(|line| line.starts_with("//"))
        })
        // What the compiler is shown in compile-fail tests stays as short as its message.
        .filter(|file| !file.components().any(|part| part.as_os_str() == "ui"))
        .map(|file| file.strip_prefix(root()).unwrap().display().to_string())
        .collect();
    assert!(silent.is_empty(), "files that do not say what lives in them:\n{}", silent.join("\n"));
}

/// The checks of this file see what they look for.
#[test]
fn the_checks_see_violations() {
    assert_eq!(named("use crate::engine::read;"), ["engine"]);
    assert_eq!(named("    x: crate::{flight::Flight, tags},"), ["flight", "tags"]);
    assert_eq!(named("$crate::__private::X"), Vec::<String>::new());
    assert!(place("engine") > place("flight") && place("flight") > place("tags") && place("tags") > place("memory"));
    let text = "use crate::a;\n#[cfg(test)]\nmod tests {\n    use crate::b;\n}\n// crate::c\nuse crate::d;\n";
    let seen: Vec<_> = code(text)
        .into_iter()
        .flat_map(|(number, line)| named(&line).into_iter().map(move |name| (number, name)))
        .collect();
    assert_eq!(seen, [(1, "a".to_owned()), (7, "d".to_owned())]);
}
