//! Durations and sizes as people write them (`"1h30m"`, `"64MB"`). Pure; which setting they belong to is the caller's.

use std::time::Duration;

const DURATION_FORMS: &str =
    "write whole seconds (`300`) or a number and a unit: `250ms`, `90s`, `5m`, `1h30m`, `2d`, `1w`";
const SIZE_FORMS: &str =
    "write whole bytes (`1000`) or a number and a unit: `64KB`, `64MB`, `2GB`, `1KiB`, `64MiB`, `2GiB`";

/// Largest first, which is also the order they must come in.
const TIME_UNITS: [(&str, u64); 6] =
    [("w", 7 * 86_400_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

const SIZE_UNITS: [(&str, u64); 9] = [
    ("b", 1),
    ("kb", 1000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

/// Reads a duration: whole seconds (`"300"`), or numbers with the units `w`, `d`, `h`, `m`, `s` and `ms`, each at most
/// once and the larger first (`"1h30m"`, `"250ms"`). Zero is a duration; whether it is allowed is for the caller to say.
///
/// # Errors
///
/// A text that names the part that cannot be read and the valid forms; also where the sum exceeds 2⁶⁴ milliseconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = |what: String| format!("{what}; {DURATION_FORMS}");
    if text.is_empty() {
        return Err(wrong("the duration is empty".into()));
    }
    let too_long = || wrong(format!("the duration `{text}` is too long"));
    if let Some(seconds) = number(text) {
        let ms = seconds.and_then(|s| s.checked_mul(1000)).ok_or_else(too_long)?;
        return Ok(Duration::from_millis(ms));
    }
    let mut total = 0_u64;
    let mut next_unit = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (digits, unit, tail) = item(rest);
        let Some(count) = number(digits) else {
            return Err(wrong(format!("`{text}` is not a duration: `{rest}` does not begin with a digit")));
        };
        let Some(place) = TIME_UNITS.iter().position(|(name, _)| *name == unit) else {
            return Err(wrong(match unit {
                "" => format!("`{text}` is not a duration: `{digits}` has no unit"),
                _ => format!("`{text}` is not a duration: `{unit}` is not a unit"),
            }));
        };
        if place < next_unit {
            return Err(wrong(format!("`{text}` is not a duration: every unit once, and the larger first")));
        }
        next_unit = place + 1;
        let ms = count.and_then(|count| count.checked_mul(TIME_UNITS[place].1));
        total = ms.and_then(|ms| total.checked_add(ms)).ok_or_else(too_long)?;
        rest = tail;
    }
    Ok(Duration::from_millis(total))
}

/// Reads a size in bytes: whole bytes (`"1000"`), or a number with `B`, `KB`, `MB`, `GB`, `TB` (powers of 1000) or `KiB`,
/// `MiB`, `GiB`, `TiB` (powers of 1024), in upper or lower case.
///
/// # Errors
///
/// A text that names the part that cannot be read and the valid forms; also where the size exceeds 2⁶⁴ bytes.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = |what: String| format!("{what}; {SIZE_FORMS}");
    if text.is_empty() {
        return Err(wrong("the size is empty".into()));
    }
    let (digits, unit, tail) = item(text);
    let Some(count) = number(digits) else {
        return Err(wrong(format!("`{text}` is not a size: it does not begin with a digit")));
    };
    if !tail.is_empty() {
        return Err(wrong(format!("`{text}` is not a size: `{tail}` is too much")));
    }
    let lower = unit.to_ascii_lowercase();
    let factor = match SIZE_UNITS.iter().find(|(name, _)| *name == lower) {
        Some((_, factor)) => *factor,
        None if unit.is_empty() => 1,
        None => return Err(wrong(format!("`{text}` is not a size: `{unit}` is not a unit"))),
    };
    count.and_then(|count| count.checked_mul(factor)).ok_or_else(|| wrong(format!("the size `{text}` is too large")))
}

/// The leading digits, what follows up to the next digit, and the rest.
fn item(text: &str) -> (&str, &str, &str) {
    let (digits, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let (unit, tail) = rest.split_at(rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len()));
    (digits, unit, tail)
}

/// Nothing for what is not digits alone, and `Some(None)` for what exceeds 64 bits.
fn number(digits: &str) -> Option<Option<u64>> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok())
}

/// A duration as people write it: `5m`, `1h30m`, `250ms`.
pub(crate) fn spoken(span: Duration) -> String {
    let mut left = span.as_millis();
    let mut text = String::new();
    for (unit, ms) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if left >= ms {
            text.push_str(&format!("{}{unit}", left / ms));
            left %= ms;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spoken_durations_parse_back() {
        for (text, ms) in [("5m", 300_000), ("1h30m", 5_400_000), ("250ms", 250), ("2d1s", 172_801_000), ("0s", 0)] {
            assert_eq!(spoken(Duration::from_millis(ms)), text);
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)));
        }
    }

    #[test]
    fn durations_that_can_be_read() {
        for (text, ms) in [
            ("0", 0),
            ("300", 300_000),
            ("250ms", 250),
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
            ("1w1d1h1m1s1ms", 694_861_001),
            ("1s500ms", 1500),
            ("007s", 7000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn durations_that_cannot_are_refused_with_the_part_and_the_forms() {
        for (text, part) in [
            ("", "empty"),
            ("5mins", "`mins` is not a unit"),
            ("5M", "`M` is not a unit"),
            ("-1", "`-1` does not begin with a digit"),
            ("+1", "does not begin with a digit"),
            ("1.5h", "`.` is not a unit"),
            ("h", "does not begin with a digit"),
            ("1h30", "`30` has no unit"),
            ("30m1h", "larger first"),
            ("1h1h", "every unit once"),
            ("1 h", "is not a unit"),
            (" 5m", "does not begin with a digit"),
            ("٣s", "does not begin with a digit"),
            ("99999999999999999999", "too long"),
            ("18446744073709552s", "too long"),
            ("18446744073709552", "too long"),
            ("30500568904943w1d", "too long"),
        ] {
            let error = parse_duration(text).expect_err(text);
            assert!(error.contains(part) && error.contains("`1h30m`"), "{text}: {error}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("1000", 1000),
            ("12B", 12),
            ("1KiB", 1024),
            ("64MB", 64_000_000),
            ("64mib", 64 << 20),
            ("2GB", 2_000_000_000),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for (text, part) in [
            ("", "empty"),
            ("-1", "does not begin with a digit"),
            ("1.5MB", "is too much"),
            ("64 MB", "is not a unit"),
            ("64M", "`M` is not a unit"),
            ("1KiB1B", "too much"),
            ("MB", "does not begin with a digit"),
            ("99999999999TiB", "too large"),
            ("99999999999999999999", "too large"),
        ] {
            let error = parse_bytes(text).expect_err(text);
            assert!(error.contains(part) && error.contains("`64MB`"), "{text}: {error}");
        }
    }
}
