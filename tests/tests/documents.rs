//! What the documents refer to is there: pages, anchors, options, settings. That their code is right is tested where it is
//! compiled (`src/guide.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All Markdown files below a folder, by their path from the root.
fn below(folder: &str, into: &mut Vec<String>) {
    for entry in fs::read_dir(root().join(folder)).expect("a folder").map(|entry| entry.expect("an entry")) {
        let path = format!("{folder}/{}", entry.file_name().to_str().expect("a plain name"));
        if entry.path().is_dir() {
            below(&path, into);
        } else if path.ends_with(".md") {
            into.push(path);
        }
    }
}

fn pages() -> Vec<String> {
    let mut pages = Vec::new();
    below("docs", &mut pages);
    pages.sort();
    pages
}

fn documents() -> Vec<String> {
    let others = [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "benches/README.md",
        "examples/README.md",
        "cache-macros/README.md",
    ];
    pages().into_iter().chain(others.map(str::to_owned)).collect()
}

/// The text without fenced blocks; code in a line stays, since titles have some.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !fence && !inside
    })
}

/// What `[..](target)` names, outside of code.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        let mut code = false;
        let bare: String = line
            .chars()
            .filter(|char| {
                code ^= *char == '`';
                !code || *char == '`'
            })
            .collect();
        for part in bare.split("](").skip(1) {
            let target = part.split(')').next().expect("at least the part itself");
            found.push(target.to_owned());
        }
    }
    found
}

/// The anchors of a page's titles, made as GitHub and mdBook make them: small letters, digits, `_` and `-`, spaces as `-`.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut anchors = BTreeSet::new();
    for title in prose(text).filter(|line| line.starts_with('#')) {
        let title = title.trim_start_matches('#').trim();
        let kept = title.chars().filter(|char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_'));
        let anchor: String = kept.map(|char| if char == ' ' { '-' } else { char.to_ascii_lowercase() }).collect();
        let count = seen.entry(anchor.clone()).or_default();
        anchors.insert(if *count == 0 { anchor } else { format!("{anchor}-{count}") });
        *count += 1;
    }
    anchors
}

/// `docs/guide/../failure.md` as `docs/failure.md`.
fn plain(path: &Path) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(parts.pop()),
            Component::Normal(part) => parts.push(part.to_str().expect("a plain name")),
            _ => {}
        }
    }
    parts.join("/")
}

#[test]
fn every_link_leads_to_a_file_and_to_a_title_in_it() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for document in documents() {
        for link in links(&read(&document)) {
            if link.contains("://") {
                continue;
            }
            count += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let folder = Path::new(&document).parent().expect("a folder");
            let target = if file.is_empty() { document.clone() } else { plain(&folder.join(file)) };
            if document.starts_with("docs/") && !target.starts_with("docs/") {
                wrong.push(format!("{document}: `{link}` leads out of the book"));
            } else if !root().join(&target).exists() {
                wrong.push(format!("{document}: `{link}`: there is no {target}"));
            } else if !anchor.is_empty() && !anchors(&read(&target)).contains(anchor) {
                wrong.push(format!("{document}: `{link}`: {target} has no title of that name"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 300, "only {count} links were found");
}

#[test]
fn the_book_has_every_page_once() {
    let summary = "docs/SUMMARY.md";
    let mut listed = BTreeSet::new();
    for page in links(&read(summary)).iter().map(|link| format!("docs/{link}")) {
        assert!(listed.insert(page.clone()), "{page} is twice in {summary}");
    }
    let missing: Vec<_> = pages().into_iter().filter(|page| page != summary && !listed.remove(page)).collect();
    assert!(missing.is_empty(), "not in {summary}: {missing:?}");
    assert!(listed.is_empty(), "in {summary}, and not there: {listed:?}");
}

#[test]
fn every_page_of_the_guide_is_compiled_and_in_its_contents() {
    let compiled = read("tests/src/guide.rs");
    let contents = links(&read("docs/guide/README.md"));
    let more = links(&read("docs/guide/coming-from/README.md"));
    for page in pages().iter().filter_map(|page| page.strip_prefix("docs/guide/")) {
        assert!(compiled.contains(&format!("\"{page}\";")), "{page} is not in tests/src/guide.rs");
        let listed = match page.strip_prefix("coming-from/") {
            Some(page) if page != "README.md" => more.iter().any(|link| link == page),
            _ => page == "README.md" || contents.iter().any(|link| link == page),
        };
        assert!(listed, "{page} is in no table of contents");
    }
}

/// The names of an attribute's options, from the table that the attributes are parsed by.
fn options(table: &str, attribute: &str) -> Vec<String> {
    let constants: BTreeMap<_, _> = table
        .lines()
        .filter_map(|line| line.strip_prefix("const ")?.split_once(": Spec = spec(\""))
        .map(|(constant, rest)| (constant, rest.split('"').next().expect("a name")))
        .collect();
    let start = table.find(&format!("static {attribute}: Attribute")).expect("the attribute");
    let list = table[start..].split("options: &[").nth(1).and_then(|rest| rest.split("    ],").next()).expect("a list");
    list.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| match line.strip_prefix("spec(\"") {
            Some(rest) => rest.split('"').next().expect("a name"),
            None => constants[line.trim_end_matches(',')],
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_option_has_a_row_with_a_reason_to_use_it() {
    let table = read("cache-macros/src/args/table.rs");
    let page = read("docs/guide/options.md");
    for (attribute, title, least) in
        [("READ", "cache_read", 34), ("WRITE", "cache_write", 15), ("MEMOIZE", "memoize", 12)]
    {
        let section = page.split("\n## ").find(|part| part.starts_with(&format!("Options of `{title}`")));
        let section = section.expect("a section");
        let options = options(&table, attribute);
        assert!(options.len() >= least, "only {} options of {title} were found", options.len());
        for option in options {
            let row = section.lines().find(|line| {
                let name = line.strip_prefix("| `").unwrap_or_default();
                name.strip_prefix(&option).is_some_and(|rest| rest.starts_with([' ', '`', '(']))
            });
            let reason = row.and_then(|row| row.replace("\\|", "").split('|').nth(2).map(str::to_owned));
            assert!(
                reason.is_some_and(|reason| reason.trim().len() > 15),
                "`{option}` of {title} has no row with a reason"
            );
        }
    }
}

#[test]
fn every_variable_of_the_environment_is_explained() {
    let code = read("cache-runtime/src/config/env.rs");
    let page = read("docs/guide/configuration.md");
    let is_name = |word: &&str| {
        ["CACHE_", "REDIS_", "ENFORCE_"].iter().any(|start| word.starts_with(start))
            && word.chars().all(|char| char.is_ascii_uppercase() || char.is_ascii_digit() || char == '_')
    };
    let names: BTreeSet<_> = code.split('"').filter(is_name).collect();
    assert!(names.len() > 30, "only {names:?} were found");
    for name in names {
        assert!(page.contains(&format!("`{name}`")), "{name} is not in docs/guide/configuration.md");
    }
}

#[test]
fn every_feature_is_in_the_tables_of_features() {
    let manifest = read("cache-runtime/Cargo.toml");
    let lines = manifest.split("[features]").nth(1).and_then(|rest| rest.split("\n[").next()).expect("features");
    let mut for_users = true;
    let mut features = Vec::new();
    for line in lines.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            for_users &= !comment.starts_with("Not for users");
        } else if let Some((name, _)) = line.split_once(" = ") {
            features.extend((for_users && name != "default").then_some(name));
            for_users = true;
        }
    }
    assert!(features.len() > 12, "only {features:?} were found");
    for page in ["README.md", "docs/guide/configuration.md"] {
        let text = read(page);
        let section = text
            .split("\n## ")
            .find(|part| part.to_lowercase().lines().next().is_some_and(|title| title.ends_with("features")));
        for feature in &features {
            let name = format!("`{feature}`");
            let mut cells = section.expect("a section").lines().filter_map(|line| line.split('|').nth(1));
            assert!(cells.any(|cell| cell.contains(&name)), "{name} is not in the table of {page}");
        }
    }
}

/// Which rules a user of the server needs is proven beside the code; the documents repeat them.
#[test]
fn the_rules_of_the_servers_user_are_those_that_are_tested() {
    let code = read("cache-runtime/src/redis/mod.rs");
    let start = code.find("ACL SETUSER").expect("the rules");
    let rules = code[start..].lines().take_while(|line| !line.contains("```")).flat_map(str::split_whitespace);
    let rules: BTreeSet<_> = rules.filter(|word| word.starts_with(['+', '-'])).collect();
    assert!(rules.len() > 15, "only {rules:?} were found");
    for (page, more) in [("docs/guide/redis.md", &[][..]), ("docs/guide/production.md", &["+client|tracking"])] {
        let text = read(page);
        let start = text.find("ACL SETUSER").unwrap_or_else(|| panic!("{page} has no rules"));
        let listed = text[start..].split(['`', '.']).next().expect("a text").split_whitespace();
        let listed: BTreeSet<_> = listed.filter(|word| word.starts_with(['+', '-'])).collect();
        let wanted: BTreeSet<_> = rules.iter().copied().chain(more.iter().copied()).collect();
        assert_eq!(listed, wanted, "{page}");
    }
}

#[test]
fn every_example_has_a_row_and_a_test() {
    let page = read("examples/README.md");
    for entry in fs::read_dir(root().join("examples")).expect("a folder").map(|entry| entry.expect("an entry")) {
        if !entry.path().join("Cargo.toml").exists() {
            continue;
        }
        let name = entry.file_name().into_string().expect("a plain name");
        assert!(page.contains(&format!("| `{name}` |")), "{name} is not in examples/README.md");
        let tests = fs::read_dir(entry.path().join("tests")).map_or(0, Iterator::count);
        assert!(tests > 0, "{name} has no test");
    }
}
