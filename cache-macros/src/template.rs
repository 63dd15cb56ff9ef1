//! The template language of keys and tags: text with placeholders. Pure: it knows neither parameters nor tokens.
//!
//! What it promises to the rest: pieces alternate so that a value can never run into another one, nothing reserved is
//! in the text, and every problem comes with the bytes it is about.

use std::ops::Range;

/// A checked template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    Hole(Hole),
}

/// `<user.org.id:lower>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) root: Root,
    /// Field names or tuple indices.
    pub(crate) fields: Vec<String>,
    pub(crate) modifier: Modifier,
    /// Where the path stands in the literal's value, for drawing.
    pub(crate) range: Range<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Root {
    Name(String),
    Index(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Modifier {
    None,
    Lower,
    Upper,
    Hash,
    Len,
    Display,
}

/// What is wrong, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) range: Range<usize>,
    pub(crate) message: String,
    pub(crate) label: String,
    pub(crate) help: String,
}

impl Modifier {
    const ALL: [(&'static str, Self); 5] = [
        ("lower", Self::Lower),
        ("upper", Self::Upper),
        ("hash", Self::Hash),
        ("len", Self::Len),
        ("display", Self::Display),
    ];

    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Lower => ":lower",
            Self::Upper => ":upper",
            Self::Hash => ":hash",
            Self::Len => ":len",
            Self::Display => ":display",
        }
    }
}

impl Hole {
    /// `user.org.id`, as the messages and the catalogue show it.
    pub(crate) fn path(&self) -> String {
        let mut path = match &self.root {
            Root::Name(name) => name.clone(),
            Root::Index(index) => index.to_string(),
        };
        for field in &self.fields {
            path.push('.');
            path.push_str(field);
        }
        path
    }
}

/// The text with what would open or close a placeholder doubled again.
pub(crate) fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        if matches!(c, '<' | '>' | '{' | '}') {
            out.push(c);
        }
        out.push(c);
        out
    })
}

/// Parses and checks a template; the first problem ends it, since what follows would be guesses.
pub(crate) fn parse(text: &str) -> Result<Template, Problem> {
    if text.is_empty() {
        return Err(problem(0..0, "empty template", "nothing here", "name the value, like \"user:<user_id>\""));
    }
    let mut pieces: Vec<Piece> = Vec::new();
    let mut plain = String::new();
    let mut rest = text.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        let doubled = rest.peek().is_some_and(|(_, next)| *next == c);
        match c {
            '<' | '>' | '{' | '}' if doubled => {
                rest.next();
                plain.push(c);
            }
            '<' | '{' => {
                let close = if c == '<' { '>' } else { '}' };
                let Some(length) = text[at + 1..].find(close) else {
                    return Err(problem(
                        at..text.len(),
                        "unbalanced template: a placeholder is not closed",
                        &format!("no `{close}` follows"),
                        &format!("close it with `{close}`, or write `{c}{c}` for the character itself"),
                    ));
                };
                let inside = at + 1..at + 1 + length;
                if !plain.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                }
                pieces.push(Piece::Hole(hole(text, inside.clone())?));
                while rest.next_if(|(i, _)| *i <= inside.end).is_some() {}
            }
            '>' | '}' => {
                let open = if c == '>' { '<' } else { '{' };
                return Err(problem(
                    at..at + 1,
                    "unbalanced template: nothing is open here",
                    &format!("no `{open}` comes before"),
                    &format!("write `{c}{c}` for the character itself"),
                ));
            }
            '%' => {
                return Err(problem(
                    at..at + 1,
                    "a template may not contain `%`",
                    "reserved for escapes in values",
                    "use another character, like `-` or `.`",
                ));
            }
            _ => plain.push(c),
        }
    }
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    separated(text, &pieces)?;
    if let Some(Piece::Text(first)) = pieces.first()
        && first.starts_with("tenant-")
    {
        let end = text.find(':').unwrap_or(text.len());
        return Err(problem(
            0..end,
            "the first segment may not start with `tenant-`",
            "reserved for tenants",
            "put another word in front, like \"for:tenant-..\"; a tenant of its own is `Tenant::scope`",
        ));
    }
    Ok(Template { pieces })
}

/// Two values that touch could be split in two ways: `("1", "23")` and `("12", "3")` would share an entry.
fn separated(text: &str, pieces: &[Piece]) -> Result<(), Problem> {
    let mut last: Option<&Hole> = None;
    let mut between = false;
    for piece in pieces {
        match piece {
            Piece::Text(text) => between |= text.contains(':'),
            Piece::Hole(hole) => {
                if let Some(last) = last.filter(|_| !between) {
                    let range = last.range.start.saturating_sub(1)..(hole.range.end + 1).min(text.len());
                    return Err(problem(
                        range,
                        "ambiguous template: two placeholders without a `:` between them",
                        "different values could make the same text",
                        &format!("separate them: `<{}>:<{}>`", last.path(), hole.path()),
                    ));
                }
                last = Some(hole);
                between = false;
            }
        }
    }
    Ok(())
}

fn hole(text: &str, range: Range<usize>) -> Result<Hole, Problem> {
    let inside = &text[range.clone()];
    let whole = range.start.saturating_sub(1)..range.end + 1;
    let (path, modifier) = match inside.split_once(':') {
        None => (inside, Modifier::None),
        Some((path, word)) => {
            let at = range.start + path.len() + 1;
            let Some((_, modifier)) = Modifier::ALL.iter().find(|(name, _)| *name == word.trim()) else {
                let names = crate::suggest::list(Modifier::ALL.iter().map(|(name, _)| *name));
                let help = match crate::suggest::closest(word.trim(), Modifier::ALL.iter().map(|(name, _)| *name)) {
                    Some(near) => format!("write `<{}:{near}>`; modifiers are {names}", path.trim()),
                    None => format!("modifiers are {names}"),
                };
                return Err(problem(
                    at..range.end,
                    &format!("unknown modifier `{}`", word.trim()),
                    "not a modifier",
                    &help,
                ));
            };
            (path, *modifier)
        }
    };
    let range = range.start..range.start + path.len();
    if path.trim().is_empty() {
        return Err(problem(
            whole,
            "empty placeholder",
            "names nothing",
            "name a parameter, or double the character to mean itself",
        ));
    }
    let mut segments = path.split('.').map(str::trim);
    let first = segments.next().unwrap_or_default();
    let root = match first.parse::<usize>() {
        Ok(index) if first.bytes().all(|b| b.is_ascii_digit()) => Root::Index(index),
        _ if is_name(first) => Root::Name(first.to_owned()),
        _ => return Err(unusable(range)),
    };
    let fields: Vec<String> = segments.map(str::to_owned).collect();
    if !fields.iter().all(|field| is_name(field) || (!field.is_empty() && field.bytes().all(|b| b.is_ascii_digit()))) {
        return Err(unusable(range));
    }
    Ok(Hole { root, fields, modifier, range })
}

fn unusable(range: Range<usize>) -> Problem {
    problem(
        range,
        "a placeholder is a parameter and its fields",
        "not a path",
        "write it like `<user_id>`, `<user.org.id>` or `<0>`; compute anything else with the tuple form: `key = (\"user\", expression)`",
    )
}

fn is_name(text: &str) -> bool {
    let text = text.strip_prefix("r#").unwrap_or(text);
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c == '_' || c.is_alphabetic()) && chars.all(|c| c == '_' || c.is_alphanumeric())
}

fn problem(range: Range<usize>, message: &str, label: &str, help: &str) -> Problem {
    Problem { range, message: message.to_owned(), label: label.to_owned(), help: help.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::{Modifier, Piece, Root, parse};

    fn shown(text: &str) -> String {
        match parse(text) {
            Err(problem) => format!("{}@{}..{}", problem.message, problem.range.start, problem.range.end),
            Ok(template) => template
                .pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Text(text) => format!("[{text}]"),
                    Piece::Hole(hole) => format!("({}{})", hole.path(), hole.modifier.suffix()),
                })
                .collect(),
        }
    }

    #[test]
    fn placeholders_of_every_form() {
        assert_eq!(shown("user:<user_id>"), "[user:](user_id)");
        assert_eq!(shown("user:{user_id}:x"), "[user:](user_id)[:x]");
        assert_eq!(shown("<a.b.0>:<self.shard>:<0>"), "(a.b.0)[:](self.shard)[:](0)");
        assert_eq!(shown("u:<name:lower>:{body:hash}:<r#type>"), "[u:](name:lower)[:](body:hash)[:](r#type)");
        assert_eq!(shown("<a>>>"), "(a)[>]");
        assert_eq!(shown("ä:<ö>:ü"), "[ä:](ö)[:ü]");
    }

    #[test]
    fn doubled_characters_stand_for_themselves() {
        assert_eq!(shown("a<<b>>{{c}}"), "[a<b>{c}]");
    }

    #[test]
    fn index_roots_are_numbers() {
        let template = parse("x:<1.name>").expect("valid");
        let Some(Piece::Hole(hole)) = template.pieces.get(1) else { panic!("a hole") };
        assert_eq!((&hole.root, hole.modifier), (&Root::Index(1), Modifier::None));
    }

    #[test]
    fn problems_name_their_place() {
        assert_eq!(shown(""), "empty template@0..0");
        assert_eq!(shown("user:<id"), "unbalanced template: a placeholder is not closed@5..8");
        assert_eq!(shown("user:id>"), "unbalanced template: nothing is open here@7..8");
        assert_eq!(shown("a:<>"), "empty placeholder@2..4");
        assert_eq!(shown("a:<b><c>"), "ambiguous template: two placeholders without a `:` between them@2..8");
        assert_eq!(shown("a:<b>-<c>"), "ambiguous template: two placeholders without a `:` between them@2..9");
        assert_eq!(shown("a%b"), "a template may not contain `%`@1..2");
        assert_eq!(shown("tenant-x:<a>"), "the first segment may not start with `tenant-`@0..8");
        assert_eq!(shown("a:<b:lowr>"), "unknown modifier `lowr`@5..9");
        assert_eq!(shown("a:<b+1>"), "a placeholder is a parameter and its fields@3..6");
        assert_eq!(shown("a:<b.>"), "a placeholder is a parameter and its fields@3..5");
    }

    /// Every text of up to six of these characters, and what the fuzzer's corpus has.
    #[test]
    fn every_text_is_a_template_or_a_problem_with_a_place_in_it() {
        let alphabet = ['<', '>', 'a', ':', '{', '%', 'é'];
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/template");
        let mut texts: Vec<String> = std::fs::read_dir(corpus)
            .expect("a corpus")
            .map(|file| std::fs::read_to_string(file.expect("a file").path()).expect("a text"))
            .collect();
        let mut longest = vec![String::new()];
        for _ in 0..6 {
            longest = longest.iter().flat_map(|text| alphabet.map(|c| format!("{text}{c}"))).collect();
            texts.extend(longest.iter().cloned());
        }
        for text in texts {
            match parse(&text) {
                Err(problem) => {
                    assert!(text.get(problem.range.clone()).is_some(), "{text:?} {problem:?}");
                    assert!(!problem.message.is_empty() && !problem.help.is_empty(), "{text:?} {problem:?}");
                }
                Ok(template) => {
                    let between = template.pieces.windows(3).filter_map(|pieces| match pieces {
                        [Piece::Hole(_), Piece::Text(between), Piece::Hole(_)] => Some(between.as_str()),
                        _ => None,
                    });
                    assert!(between.into_iter().all(|between| between.contains(':')), "{text:?}");
                    let beside = |pieces: &[Piece]| matches!(pieces, [Piece::Hole(_), Piece::Hole(_)]);
                    assert!(!template.pieces.windows(2).any(beside), "{text:?}");
                }
            }
        }
    }
}
