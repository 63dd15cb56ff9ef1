//! The query string in a key: in one order whatever the order of its parameters, and injective otherwise. Pure.

use std::borrow::Cow;

/// The query as it stands in a key. `chosen`: only these parameters select a response.
///
/// Parameters of different names change places freely; those of one name do not, since a program may look at the first or at
/// the last. Names are compared as a program sees them: `%61` is `a`. Nothing is decoded in what is returned, so that
/// whatever differs there differs in the key, `a` and `a=` included.
///
/// A `;` separates parameters for some programs and not for others. Where there is one, the query is taken as it is.
pub(super) fn canonical<'q>(query: &'q str, chosen: Option<&[Box<str>]>) -> Cow<'q, str> {
    if query.contains(';') {
        return Cow::Borrowed(query);
    }
    if chosen.is_none() && !query.contains('&') {
        return Cow::Borrowed(query);
    }
    let is_chosen = |name: &[u8]| chosen.is_none_or(|chosen| chosen.iter().any(|chosen| chosen.as_bytes() == name));
    let mut pairs: Vec<(Vec<u8>, &str)> = query
        .split('&')
        .map(|pair| (decoded(pair.split_once('=').map_or(pair, |(name, _)| name)), pair))
        .filter(|(name, _)| is_chosen(name))
        .collect();
    pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
    let pairs: Vec<&str> = pairs.into_iter().map(|(_, pair)| pair).collect();
    Cow::Owned(pairs.join("&"))
}

/// A name as a program sees it: `+` is a space, and `%61` is `a`.
fn decoded(name: &str) -> Vec<u8> {
    let mut bytes = name.bytes();
    let mut out = Vec::with_capacity(name.len());
    while let Some(byte) = bytes.next() {
        let escaped = if byte == b'%' { two_digits(bytes.clone()) } else { None };
        if escaped.is_some() {
            bytes.nth(1);
        }
        out.push(escaped.unwrap_or(if byte == b'+' { b' ' } else { byte }));
    }
    out
}

/// The byte that two hex digits stand for.
fn two_digits(mut bytes: std::str::Bytes<'_>) -> Option<u8> {
    let mut digit = || char::from(bytes.next()?).to_digit(16);
    let (high, low) = (digit()?, digit()?);
    u8::try_from(high * 16 + low).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_order_of_names_does_not_matter_and_that_of_values_does() {
        let table = [
            ("a=1&b=2", "b=2&a=1", true),
            ("a=1&a=2", "a=2&a=1", false),
            ("a=1&%61=2", "%61=2&a=1", false),
            ("a", "a=", false),
            ("a=1", "a=1&", false),
            ("a=1&&b=2", "b=2&a=1&", true),
            ("a=1&&b=2", "a=1&b=2", false),
            ("a=b%26c=d", "a=b&c=d", false),
            ("a=1;b=2&c=3", "c=3&a=1;b=2", false),
            ("a[]=1&a=2", "a=2&a[]=1", true),
            ("a=%2", "a=%252", false),
        ];
        for (one, other, same) in table {
            assert_eq!(canonical(one, None) == canonical(other, None), same, "{one} {other}");
        }
    }

    #[test]
    fn chosen_parameters_alone_select_and_none_can_hide_behind_a_semicolon() {
        let chosen = ["page".into(), "a b".into()];
        let key = |query| canonical(query, Some(&chosen)).into_owned();
        assert_eq!(key("page=1&utm=x"), key("utm=y&page=1"));
        assert_eq!(key("utm=x"), "");
        assert_eq!(key("p%61ge=1"), "p%61ge=1");
        assert_eq!(key("a+b=1&a%20b=2"), "a+b=1&a%20b=2");
        // Whoever splits at `;` sees a page here.
        assert_ne!(key("utm=x;page=2"), key("utm=x"));
    }

    proptest! {
        /// Two queries share a key only if each is the other with parameters of different names in other places.
        #[test]
        fn no_two_programs_views_share_a_key(one in "[ab%61&=;+]{0,12}", other in "[ab%61&=;+]{0,12}") {
            if canonical(&one, None) == canonical(&other, None) {
                let view = |query: &str| {
                    let mut names = std::collections::BTreeMap::<Vec<u8>, Vec<String>>::new();
                    for pair in query.split('&') {
                        let name = decoded(pair.split_once('=').map_or(pair, |(name, _)| name));
                        names.entry(name).or_default().push(pair.to_owned());
                    }
                    names
                };
                prop_assert_eq!(view(&one), view(&other));
            }
        }
    }
}
