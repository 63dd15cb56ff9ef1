//! What the fuzz targets `key` and `pattern` run, and their stable twins.

use super::{Key, KeyPart, KeyWriter, Pattern};
use crate::fuzz::Bytes;

/// Arguments of one function: something of every kind of part.
type Parts = (String, Option<u64>, Vec<String>, i32, Option<Option<String>>, (bool, char), Vec<Vec<Option<String>>>);

fn parts(bytes: &mut Bytes<'_>) -> Parts {
    let texts = |bytes: &mut Bytes<'_>| (0..bytes.below(4)).map(|_| bytes.text()).collect::<Vec<_>>();
    let list = |bytes: &mut Bytes<'_>| (0..bytes.below(3)).map(|_| bytes.option(Bytes::text)).collect();
    (
        bytes.text(),
        bytes.option(Bytes::number),
        texts(bytes),
        bytes.number() as i32,
        bytes.option(|bytes| bytes.option(Bytes::text)),
        (bytes.flag(), char::from(bytes.byte())),
        (0..bytes.below(3)).map(|_| list(bytes)).collect(),
    )
}

fn render(parts: &Parts) -> KeyWriter {
    let mut writer = KeyWriter::with_prefix(b"svc:v1:", 0);
    let each: [&dyn Fn(&mut KeyWriter); 7] = [
        &|writer| parts.0.write(writer),
        &|writer| parts.1.write(writer),
        &|writer| parts.2.write(writer),
        &|writer| parts.3.write(writer),
        &|writer| parts.4.write(writer),
        &|writer| parts.5.write(writer),
        &|writer| parts.6.write(writer),
    ];
    writer.lit("k");
    for part in each {
        writer.lit(":");
        part(&mut writer);
    }
    writer.finish();
    writer
}

/// P3: keys of two calls are equal exactly if their arguments are, and stay where they belong.
pub(crate) fn keys(data: &[u8]) {
    let mut bytes = Bytes(data);
    let (one, other) = (parts(&mut bytes), parts(&mut bytes));
    let (a, b) = (render(&one), render(&other));
    assert_eq!(a.as_bytes() == b.as_bytes(), one == other, "{one:?} {other:?}");
    assert_eq!(a.as_bytes(), render(&one).as_bytes());
    for key in [&a, &b] {
        assert!(key.as_bytes().starts_with(b"svc:v1:"), "{key:?}");
        assert!(key.logical_bytes().len() <= 512, "{key:?}");
        let text = std::str::from_utf8(key.logical_bytes()).expect("a key is text");
        // What a template made is found again by its text.
        assert_eq!(Key::from(text).as_str(), text);
    }
    // Text that users bring never reaches into what is the cache's own, or a tenant's.
    let key = Key::from(one.0.as_str());
    assert!(!key.as_str().starts_with("tenant-") && !key.as_str().starts_with("%+"), "{key:?}");
}

/// `stringmatchlen` of Redis 7.0, line by line, over bytes.
pub(super) fn reference(mut p: &[u8], mut s: &[u8]) -> bool {
    while !p.is_empty() && !s.is_empty() {
        match p[0] {
            b'*' => {
                while p.get(1) == Some(&b'*') {
                    p = &p[1..];
                }
                return p.len() == 1 || (0..=s.len()).any(|skip| reference(&p[1..], &s[skip..]));
            }
            b'?' => s = &s[1..],
            b'[' => {
                p = &p[1..];
                let not = p.first() == Some(&b'^');
                if not {
                    p = &p[1..];
                }
                let mut found = false;
                loop {
                    if p.len() >= 2 && p[0] == b'\\' {
                        p = &p[1..];
                        found |= p[0] == s[0];
                    } else if p.is_empty() || p[0] == b']' {
                        break;
                    } else if p.len() >= 3 && p[1] == b'-' {
                        found |= (p[0].min(p[2])..=p[0].max(p[2])).contains(&s[0]);
                        p = &p[2..];
                    } else {
                        found |= p[0] == s[0];
                    }
                    p = &p[1..];
                }
                if found == not {
                    return false;
                }
                s = &s[1..];
            }
            first => {
                if first == b'\\' && p.len() >= 2 {
                    p = &p[1..];
                }
                if p[0] != s[0] {
                    return false;
                }
                s = &s[1..];
            }
        }
        p = p.get(1..).unwrap_or_default();
    }
    while s.is_empty() && p.first() == Some(&b'*') {
        p = &p[1..];
    }
    p.is_empty() && s.is_empty()
}

/// A glob, a line break, and a text: what matches here matches on the server. And the pattern is never slow.
pub(crate) fn pattern(data: &[u8]) {
    let split = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (glob, text) = (&data[..split], data.get(split + 1..).unwrap_or_default());
    let pattern = Pattern::glob(glob);
    let matches = pattern.matches(text);
    // The reference takes a time that doubles with each star. Of the text without anything in it: see `pattern`.
    if glob.iter().filter(|byte| **byte == b'*').count() <= 4 && text.len() <= 256 && !text.is_empty() {
        assert_eq!(matches, reference(glob, text), "{glob:?} {text:?}");
    }
    assert!(!matches || pattern.could_match(text), "{glob:?} {text:?}");
    assert!(!matches || text.starts_with(&pattern.literal_front()), "{glob:?} {text:?}");
    let _ = Pattern::wild(glob).matches(text);
}
