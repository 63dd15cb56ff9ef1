//! C7: the example runs, and its spans are what the guide says of them.

use std::process::Command;

/// A span as the example prints it.
#[derive(Debug)]
struct Span {
    name: String,
    trace: String,
    id: String,
    parent: String,
    rest: String,
}

fn spans(section: &str) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for line in section.lines().filter(|line| !line.starts_with('#')) {
        if line.starts_with(' ') {
            let last = spans.last_mut().expect("a span before what it says");
            last.rest.push_str(line);
            last.rest.push('\n');
            continue;
        }
        let word = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name)).unwrap_or_default().to_owned();
        let name = line.split(' ').next().unwrap_or_default().to_owned();
        spans.push(Span {
            name,
            trace: word("trace="),
            id: word("span="),
            parent: word("parent="),
            rest: String::new(),
        });
    }
    spans
}

fn one<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    let mut found = spans.iter().filter(|span| span.name == name);
    let first = found.next().unwrap_or_else(|| panic!("no {name}: {spans:#?}"));
    assert!(found.next().is_none(), "one {name}: {spans:#?}");
    first
}

#[test]
fn spans_reach_opentelemetry_with_their_parents_and_links() {
    let ran = Command::new(env!("CARGO_BIN_EXE_tracing-otel")).output().expect("the example starts");
    let text = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{text}{}", String::from_utf8_lossy(&ran.stderr));
    let sections: Vec<Vec<Span>> =
        text.split("# ").skip(1).map(|section| spans(section.split_once('\n').unwrap().1)).collect();
    let [miss, hit, old, write] = &sections[..] else { panic!("four sections: {text}") };

    let (request, load, query) = (one(miss, "request"), one(miss, "cache.load"), one(miss, "query"));
    assert_eq!((&load.parent, &query.parent, request.parent.as_str()), (&request.id, &load.id, "-"));
    assert!(load.trace == request.trace && query.trace == request.trace);
    for field in
        ["operation = load", "resource_type = get_user", "cache_hit = false", "duration_ms = ", "key = user:<id>"]
    {
        assert!(load.rest.contains(field), "{field}: {load:?}");
    }
    assert!(!text.contains("user:42") && !text.contains("Ada"), "neither keys nor values: {text}");

    assert_eq!(hit.len(), 1, "{hit:?}");

    let (request, refresh, load) = (one(old, "request"), one(old, "cache.refresh"), one(old, "cache.load"));
    assert_eq!((refresh.parent.as_str(), &load.parent), ("-", &refresh.id));
    assert!(refresh.trace != request.trace && load.trace == refresh.trace);
    let link = format!("follows from span={} of trace={}", request.id, request.trace);
    assert!(refresh.rest.contains(&link), "{link}: {refresh:?}");

    let (post, recache, load) = (one(write, "post"), one(write, "cache.recache"), one(write, "cache.load"));
    assert_eq!(
        (&one(write, "cache.invalidate").parent, &recache.parent, &load.parent),
        (&post.id, &post.id, &recache.id)
    );
}
