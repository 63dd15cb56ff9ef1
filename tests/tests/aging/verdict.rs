//! What became of generated cases, and whether that says enough.

/// How often in a row a machine that disturbs most cases is asked again.
const ATTEMPTS: u32 = 5;

/// What became of one case.
pub(crate) enum Verdict {
    Right,
    /// The machine was too slow to say at which age the entry was seen, or for a timeout that had to be short.
    Unclear,
    Wrong(String),
}

/// What became of the cases of one round.
#[derive(Default)]
pub(crate) struct Tally {
    right: u32,
    unclear: u32,
    wrong: Vec<String>,
}

impl Tally {
    pub(crate) fn add(&mut self, name: &str, verdict: Verdict) {
        match verdict {
            Verdict::Right => self.right += 1,
            Verdict::Unclear => self.unclear += 1,
            Verdict::Wrong(why) => self.wrong.push(format!("{name}: {why}")),
        }
    }

    /// Whether most cases were undisturbed. `attempts`: how many rounds before this one were not enough.
    ///
    /// # Panics
    ///
    /// A case was wrong, in whichever round; or too many rounds in a row have said too little.
    pub(crate) fn says_enough(mut self, kind: &str, attempts: &mut u32) -> bool {
        let Self { right, unclear, .. } = self;
        self.wrong.sort_unstable();
        let shown = &self.wrong[..self.wrong.len().min(40)];
        assert!(
            shown.is_empty(),
            "{} wrong, {right} right, {unclear} unclear:\n{}",
            self.wrong.len(),
            shown.join("\n")
        );
        println!("{kind}: {right} right, {unclear} unclear");
        let is_enough = right > unclear;
        *attempts = if is_enough { 0 } else { *attempts + 1 };
        assert!(*attempts < ATTEMPTS, "{right} right, {unclear} unclear, {attempts} times");
        is_enough
    }
}
