//! What became of generated cases, and whether that says enough.

use std::collections::HashSet;

/// How often in a row a machine that disturbs most cases is asked again.
const ATTEMPTS: u32 = 5;

/// What became of one case.
pub(crate) enum Verdict {
    Right,
    /// The machine was too slow to say at which age the entry was seen, or for a timeout that had to be short.
    Unclear,
    Wrong(String),
}

/// What became of the cases, over as many rounds as it takes.
#[derive(Default)]
pub(crate) struct Tally {
    right: HashSet<String>,
    unclear: usize,
    wrong: Vec<String>,
    /// How many rounds were not enough.
    attempts: u32,
}

impl Tally {
    /// Whether a case need not be run again.
    pub(crate) fn is_right(&self, name: &str) -> bool {
        self.right.contains(name)
    }

    pub(crate) fn add(&mut self, name: String, verdict: Verdict) {
        match verdict {
            Verdict::Right => drop(self.right.insert(name)),
            Verdict::Unclear => self.unclear += 1,
            Verdict::Wrong(why) => self.wrong.push(format!("{name}: {why}")),
        }
    }

    /// Whether most cases have been seen undisturbed. If not, the others are to be run once more: they are fewer, and disturb
    /// each other less.
    ///
    /// # Panics
    ///
    /// A case was wrong, in whichever round; or too many rounds have said too little.
    pub(crate) fn says_enough(&mut self, kind: &str) -> bool {
        let (right, unclear) = (self.right.len(), std::mem::take(&mut self.unclear));
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
        self.attempts += u32::from(!is_enough);
        assert!(self.attempts < ATTEMPTS, "{right} right, {unclear} unclear, {} times", self.attempts);
        is_enough
    }
}
