//! Identity of templates and of the kinds of their parts, all of it `const`.
//!
//! Two templates are the same when their texts are, with the names of the placeholders left out, and when the parts that
//! fill them are of the same kinds. Nothing here renders.

const FNV_OFFSET: u64 = 0xCBF2_9CE4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01B3;

/// Stand for the borders of a placeholder; no template contains these bytes.
const OPEN: u8 = 0;
const CLOSE: u8 = 1;

const fn feed(hash: u64, byte: u8) -> u64 {
    (hash ^ byte as u64).wrapping_mul(FNV_PRIME)
}

/// Spreads the bits (the finalizer of `MurmurHash3`); a bijection, so it adds no collisions.
const fn spread(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    hash ^ (hash >> 33)
}

/// 0 means "no template".
const fn nonzero(hash: u64) -> u64 {
    if hash == 0 { 1 } else { hash }
}

/// Feeds `text[from..to]` as template text. An unbalanced placeholder ends with the text; the compiler refused it before.
const fn feed_template(mut hash: u64, text: &[u8], from: usize, to: usize) -> u64 {
    let mut i = from;
    while i < to {
        let byte = text[i];
        if matches!(byte, b'<' | b'>' | b'{' | b'}') && i + 1 < to && text[i + 1] == byte {
            hash = feed(hash, byte);
            i += 2;
        } else if byte == b'<' || byte == b'{' {
            hash = feed(hash, OPEN);
            i += 1;
            let mut in_name = true;
            while i < to && text[i] != b'>' && text[i] != b'}' {
                in_name = in_name && text[i] != b':';
                if !in_name {
                    hash = feed(hash, text[i]);
                }
                i += 1;
            }
            hash = feed(hash, CLOSE);
            i += 1;
        } else {
            hash = feed(hash, byte);
            i += 1;
        }
    }
    hash
}

/// Where the first segment of a template ends: the first `:` outside of a placeholder, or the end.
const fn first_segment(text: &[u8]) -> usize {
    let mut i = 0;
    let mut inside = false;
    while i < text.len() {
        let byte = text[i];
        if !inside && matches!(byte, b'<' | b'>' | b'{' | b'}') && i + 1 < text.len() && text[i + 1] == byte {
            i += 2;
            continue;
        }
        match byte {
            b'<' | b'{' => inside = true,
            b'>' | b'}' => inside = false,
            b':' if !inside => return i,
            _ => {}
        }
        i += 1;
    }
    i
}

/// Identity of a template text, never 0. `user:<id>`, `user:{user_id}` and `user:<result.id>` have the same; modifiers
/// (`<name:lower>`) count. [`KeyWriter::part`](super::KeyWriter::part) mixes in the kinds of the values.
#[must_use]
pub const fn template_seed(text: &str) -> u64 {
    let bytes = text.as_bytes();
    nonzero(spread(feed_template(FNV_OFFSET, bytes, 0, bytes.len())))
}

/// Identity of a resource's template with `suffix` after its first segment: `user:<id>` and `profile` give what
/// [`template_seed`] gives for `user:profile:<id>`; an empty suffix gives the template's own.
#[must_use]
pub const fn template_seed_resource(template: &str, suffix: &str) -> u64 {
    let bytes = template.as_bytes();
    let cut = first_segment(bytes);
    let mut hash = feed_template(FNV_OFFSET, bytes, 0, cut);
    if !suffix.is_empty() {
        hash = feed(hash, b':');
        hash = feed_template(hash, suffix.as_bytes(), 0, suffix.len());
    }
    nonzero(spread(feed_template(hash, bytes, cut, bytes.len())))
}

/// Identity of a generated key (`key = auto`): what [`template_seed`] gives for `module.function:<a>:<b>` with `parts`
/// placeholders, where `::` in the module is written `.`.
#[must_use]
pub const fn template_seed_auto(module: &str, function: &str, parts: usize) -> u64 {
    let mut hash = FNV_OFFSET;
    let bytes = module.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        if bytes[i] == b':' && i + 1 < bytes.len() && bytes[i + 1] == b':' {
            hash = feed(hash, b'.');
            i += 2;
        } else {
            hash = feed(hash, bytes[i]);
            i += 1;
        }
    }
    hash = feed(hash, b':');
    hash = feed_template(hash, function.as_bytes(), 0, function.len());
    let mut part = 0;
    while part < parts {
        hash = feed(feed(feed(hash, b':'), OPEN), CLOSE);
        part += 1;
    }
    nonzero(spread(hash))
}

/// The kind called `name`.
#[must_use]
pub const fn kind_name(name: &str) -> u64 {
    let bytes = name.as_bytes();
    let mut hash = FNV_OFFSET;
    let mut i = 0;
    while i < bytes.len() {
        hash = feed(hash, bytes[i]);
        i += 1;
    }
    spread(hash)
}

/// The kind made of two kinds, in this order. Meant for compile time.
#[must_use]
pub const fn mix(a: u64, b: u64) -> u64 {
    spread(spread(a).rotate_left(29).wrapping_mul(FNV_PRIME) ^ b)
}

/// A template with one more part of this kind. 0 stays 0 and nothing else becomes 0, since both steps are bijections.
#[inline]
pub(super) const fn fold(template: u64, kind: u64) -> u64 {
    template.rotate_left(23).wrapping_mul(kind | 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_count_and_everything_else_does() {
        let seed = template_seed("user:<id>");
        for same in ["user:<user_id>", "user:{id}", "user:<result.id>", "user:<0>", "user:<>"] {
            assert_eq!(template_seed(same), seed, "{same}");
        }
        let others = [
            "user:<id:lower>",
            "user:<id:upper>",
            "user:<id:>",
            "user:id",
            "user:<<id>>",
            "user:{{id}}",
            "users:<id>",
            "user:<id>:",
            "user:<id>:<id>",
            "user:",
            "",
            "<id>",
            "user<id>",
        ];
        for (i, one) in others.iter().enumerate() {
            assert_ne!(template_seed(one), seed, "{one}");
            for two in &others[i + 1..] {
                assert_ne!(template_seed(one), template_seed(two), "{one} {two}");
            }
        }
        assert_eq!(template_seed("a<<{x}>>"), template_seed("a<<<y>>>"));
    }

    #[test]
    fn a_suffix_goes_after_the_first_segment() {
        assert_eq!(template_seed_resource("user:<id>", "profile"), template_seed("user:profile:<x>"));
        assert_eq!(template_seed_resource("user:<id>", ""), template_seed("user:<id>"));
        assert_eq!(template_seed_resource("user", "profile"), template_seed("user:profile"));
        assert_eq!(template_seed_resource("<a:lower>:<b>", "p:q"), template_seed("<a:lower>:p:q:<b>"));
        assert_eq!(template_seed_resource("<<a:<b>", "p"), template_seed("<<a:p:<b>"));
    }

    #[test]
    fn a_generated_key_has_a_template_too() {
        assert_eq!(template_seed_auto("app::users", "get", 2), template_seed("app.users:get:<a>:<b>"));
        assert_eq!(template_seed_auto("app", "get", 0), template_seed("app:get"));
    }

    #[test]
    fn folding_keeps_zero_apart_and_depends_on_order() {
        let (a, b) = (kind_name("a"), kind_name("b"));
        assert_eq!(fold(0, a), 0);
        assert_ne!(fold(1, 0), 0);
        assert_ne!(fold(fold(7, a), b), fold(fold(7, b), a));
        assert_ne!(mix(a, b), mix(b, a));
    }
}
