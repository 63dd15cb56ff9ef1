//! Durations, sizes and percentages as users write them in literals. Pure; errors are sentences without a place.

/// "1h30m", "250ms", "10s" in milliseconds. Whole numbers only; units from large to small are not enforced.
pub(crate) fn duration_ms(text: &str) -> Result<u64, String> {
    const EXAMPLE: &str = "a number and a unit (`ms`, `s`, `m`, `h`, `d`), like \"250ms\", \"5m\" or \"1h30m\"";
    let text = text.trim();
    let mut rest = text;
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err(format!("an empty duration\nhelp: write {EXAMPLE}"));
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.len() - tail.trim_start_matches(|c: char| c.is_alphabetic()).len();
        let (unit, tail) = tail.split_at(letters);
        rest = tail.trim_start_matches([' ', '_']);
        if number.is_empty() || (unit.is_empty() && !tail.is_empty()) {
            return Err(format!("`{text}` is not a duration\nhelp: write {EXAMPLE}"));
        }
        let factor = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "" => {
                return Err(format!(
                    "`{text}` has no unit\nhelp: write \"{text}s\" for seconds; an integer without quotes is seconds, too"
                ));
            }
            _ => {
                let meant = match unit.chars().next() {
                    Some('m') if unit.starts_with("mil") || unit.starts_with("ms") => "ms",
                    Some('m') => "m",
                    Some('s') => "s",
                    Some('h') => "h",
                    Some('d') => "d",
                    _ => {
                        return Err(format!(
                            "`{text}` is not a duration: no unit is called `{unit}`\nhelp: write {EXAMPLE}"
                        ));
                    }
                };
                let fixed = text.replacen(&format!("{number}{unit}"), &format!("{number}{meant}"), 1);
                return Err(format!(
                    "`{text}` is not a duration: no unit is called `{unit}`\nhelp: write \"{fixed}\"\nnote: a duration is {EXAMPLE}"
                ));
            }
        };
        let amount: u64 = number.parse().map_err(|_| format!("`{text}` is longer than a duration can be"))?;
        total = amount
            .checked_mul(factor)
            .and_then(|ms| total.checked_add(ms))
            .ok_or_else(|| format!("`{text}` is longer than a duration can be"))?;
    }
    if total > MAX_MS {
        return Err(format!(
            "`{text}` is longer than a duration can be\nhelp: write \"forever\" where an entry must not expire"
        ));
    }
    Ok(total)
}

/// A thousand years: far from every overflow of the arithmetic behind it.
pub(crate) const MAX_MS: u64 = 1_000 * 366 * 86_400_000;

/// "1KiB", "64 kB", "512" in bytes.
pub(crate) fn size_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "kib" | "k" => 1 << 10,
        "mib" | "m" => 1 << 20,
        _ => 0,
    };
    number.parse::<u64>().ok().filter(|_| factor > 0).and_then(|n| n.checked_mul(factor)).ok_or_else(|| {
        format!(
            "`{text}` is not a size\nhelp: write a number and a unit (`B`, `kB`, `KiB`, `MB`, `MiB`), like \"1KiB\""
        )
    })
}

/// "10%" as 10; `None` where there is no `%` at the end.
pub(crate) fn percent(text: &str) -> Option<Result<u64, String>> {
    let number = text.trim().strip_suffix('%')?;
    Some(match number.trim().parse::<u64>() {
        Ok(n) if n <= 100 => Ok(n),
        _ => Err(format!("`{text}` is not a percentage\nhelp: write a whole number from \"0%\" to \"100%\"")),
    })
}

/// "0.1%" in millionths. Zero is none.
pub(crate) fn share_ppm(text: &str) -> Result<u64, String> {
    let share = text.trim().strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    match share.map(|percent| percent * 10_000.0) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 1 000 000")]
        Some(ppm) if (1.0..=1_000_000.0).contains(&ppm) => Ok(ppm as u64),
        _ => {
            Err(format!("`{text}` is not a share of the calls\nhelp: write a percentage from \"0.0001%\" to \"100%\""))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{duration_ms, percent, share_ppm, size_bytes};

    #[test]
    fn shares() {
        assert_eq!([share_ppm("100%"), share_ppm("1 %"), share_ppm("0.1%")], [Ok(1_000_000), Ok(10_000), Ok(1_000)]);
        for wrong in ["", "1", "0%", "101%", "-1%", "NaN%", "0.00001%", "one%"] {
            assert!(share_ppm(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration_ms("250ms"), Ok(250));
        assert_eq!(duration_ms("1h30m"), Ok(5_400_000));
        assert_eq!(duration_ms("1d"), Ok(86_400_000));
        for wrong in ["", "5", "5mins", "m", "1.5h", "-3s", "5m!", "99999999999999999999s", "9999999999999d"] {
            assert!(duration_ms(wrong).is_err(), "{wrong}");
        }
        assert!(duration_ms("5mins").is_err_and(|e| e.contains("write \"5m\"")));
    }

    #[test]
    fn sizes_and_percentages() {
        assert_eq!(size_bytes("1KiB"), Ok(1024));
        assert_eq!(size_bytes("2 kB"), Ok(2000));
        assert!(size_bytes("1 banana").is_err());
        assert_eq!(percent("10%"), Some(Ok(10)));
        assert!(percent("101%").is_some_and(|p| p.is_err()));
        assert_eq!(percent("5s"), None);
    }
}
