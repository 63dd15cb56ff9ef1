//! `Cache-Control` of requests and responses (RFC 9111, section 5.2), as far as a shared cache acts on it. Pure.

use http::HeaderMap;
use http::header::{CACHE_CONTROL, PRAGMA};

/// The directives of one message. Times are in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Directives {
    pub(super) no_store: bool,
    pub(super) no_cache: bool,
    pub(super) private: bool,
    pub(super) public: bool,
    pub(super) must_revalidate: bool,
    /// As `must_revalidate` for caches that many use, but no permission to keep what is bound to credentials.
    pub(super) proxy_revalidate: bool,
    pub(super) only_if_cached: bool,
    pub(super) max_age: Option<u64>,
    pub(super) s_maxage: Option<u64>,
    pub(super) min_fresh: Option<u64>,
    pub(super) stale_while_revalidate: Option<u64>,
    pub(super) stale_if_error: Option<u64>,
}

impl Directives {
    /// Of a response.
    pub(super) fn of_response(headers: &HeaderMap) -> Self {
        let mut all = Self::default();
        for value in headers.get_all(CACHE_CONTROL) {
            // What cannot be read might have forbidden to store it.
            let Some(text) = value.to_str().ok().filter(|text| is_plain(text)) else {
                return Self { no_store: true, ..Self::default() };
            };
            split(text).for_each(|(name, argument)| all.take(name, argument));
        }
        all
    }

    /// Of a request; `Pragma: no-cache` is `no-cache` where nothing else is said.
    pub(super) fn of_request(headers: &HeaderMap) -> Self {
        let all = Self::of_response(headers);
        let says = |text: &str| text.split(',').any(|part| part.trim().eq_ignore_ascii_case("no-cache"));
        let pragma = || headers.get_all(PRAGMA).iter().any(|value| value.to_str().is_ok_and(says));
        Self { no_cache: all.no_cache || (!headers.contains_key(CACHE_CONTROL) && pragma()), ..all }
    }

    fn take(&mut self, name: &str, argument: Option<&str>) {
        // Said twice, the smaller one holds; what is not a number of seconds is none at all.
        let seconds = || argument.map_or(0, seconds);
        let least = |known: Option<u64>| Some(known.unwrap_or(u64::MAX).min(seconds()));
        match &*name.to_ascii_lowercase() {
            "no-store" => self.no_store = true,
            // With names of fields it is about these; it is taken for all.
            "no-cache" => self.no_cache = true,
            "private" => self.private = true,
            "public" => self.public = true,
            "must-revalidate" => self.must_revalidate = true,
            "proxy-revalidate" => self.proxy_revalidate = true,
            "only-if-cached" => self.only_if_cached = true,
            "max-age" => self.max_age = least(self.max_age),
            "s-maxage" => self.s_maxage = least(self.s_maxage),
            "min-fresh" => self.min_fresh = Some(self.min_fresh.unwrap_or(0).max(seconds())),
            "stale-while-revalidate" => self.stale_while_revalidate = least(self.stale_while_revalidate),
            "stale-if-error" => self.stale_if_error = least(self.stale_if_error),
            _ => {}
        }
    }
}

/// The largest number of seconds that is told from larger ones (RFC 9111, section 1.2.2): 68 years.
pub(super) const MOST: u64 = 1 << 31;

/// A number of seconds; what is no number is zero.
pub(super) fn seconds(text: &str) -> u64 {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().unwrap_or(MOST).min(MOST) } else { 0 }
}

/// Whether quotes are where they seem to be: each has its other one, and none is escaped.
fn is_plain(text: &str) -> bool {
    !text.contains('\\') && text.matches('"').count().is_multiple_of(2)
}

/// Directives with their arguments, quotes removed. A comma in quotes ends nothing.
fn split(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let mut quoted = false;
    let parts = text.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    parts.filter_map(|part| {
        let (name, argument) = match part.split_once('=') {
            Some((name, argument)) => (name.trim(), Some(argument.trim().trim_matches('"'))),
            None => (part.trim(), None),
        };
        (!name.is_empty()).then_some((name, argument))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(text: &str) -> Directives {
        Directives::of_response(&HeaderMap::from_iter([(CACHE_CONTROL, text.parse().expect("a header"))]))
    }

    #[test]
    fn directives_are_read_whatever_their_case_spaces_and_quotes() {
        let said = response("Public ,max-age = \"60\",  S-MAXAGE=5, stale-while-revalidate=30,x=\"a, no-store\"");
        let expected = Directives {
            public: true,
            max_age: Some(60),
            s_maxage: Some(5),
            stale_while_revalidate: Some(30),
            ..Directives::default()
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn what_is_said_twice_or_badly_is_taken_for_less() {
        assert_eq!(response("max-age=60, max-age=5").max_age, Some(5));
        assert_eq!(response("max-age=-1").max_age, Some(0));
        assert_eq!(response("max-age").max_age, Some(0));
        assert_eq!(response("max-age=99999999999999999999999").max_age, Some(MOST));
        assert!(response("private=\"set-cookie\"").private);
        assert!(response(r#"x="a\"b", private"#).no_store);
        assert!(response("x=\", private").no_store);
        assert!(response("no-cache=\"x\", max-age=1").no_cache);
    }

    #[test]
    fn pragma_counts_where_nothing_else_is_said() {
        let pragma = (PRAGMA, "no-cache".parse().expect("a header"));
        assert!(Directives::of_request(&HeaderMap::from_iter([pragma.clone()])).no_cache);
        let control = (CACHE_CONTROL, "max-age=5".parse().expect("a header"));
        assert!(!Directives::of_request(&HeaderMap::from_iter([pragma, control])).no_cache);
    }
}
