//! Finding what was meant: edit distance and lists of names. Pure; no syntax tree in here.

/// The candidate that `wrong` most likely meant, if any is close enough to be worth saying.
pub(crate) fn closest<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = wrong.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            let contained =
                lower.len() > 1 && candidate.len() > 1 && (candidate.contains(&lower) || lower.contains(candidate));
            let distance = distance(&lower, &candidate.to_lowercase());
            (if contained { distance.min(1) } else { distance }, candidate)
        })
        .filter(|(distance, candidate)| *distance <= wrong.len().max(candidate.len()).div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// "`a`, `b`, `c`".
pub(crate) fn list<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    names.into_iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// Optimal string alignment: a swapped pair of letters counts as one slip.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let substitution = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut best = substitution.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::{closest, distance};

    #[test]
    fn slips_are_counted_once() {
        assert_eq!(distance("usr_id", "user_id"), 1);
        assert_eq!(distance("tll", "ttl"), 1);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn only_near_names_are_suggested() {
        assert_eq!(closest("usr_id", ["region", "user_id"]), Some("user_id"));
        assert_eq!(closest("id", ["region", "user_id"]), Some("user_id"));
        assert_eq!(closest("zzz", ["region", "user_id"]), None);
    }
}
