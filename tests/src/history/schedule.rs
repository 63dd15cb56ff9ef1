//! Which faults come when. Drawn from a seed: the same seed, the same schedule. What the workers do meanwhile is drawn from
//! it too, but how it interleaves is the machine's: a seed that found something finds it again often, not always.

use std::time::Duration;

use super::dice::Dice;

/// A fault and when it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Since the beginning of the run.
    pub at: Duration,
    /// How long it lasts, where it lasts.
    pub span: Duration,
    /// What.
    pub blow: Blow,
}

/// What is done. Numbers are those of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// `SIGKILL`. Another process takes its place.
    Kill(usize),
    /// `SIGSTOP`, then `SIGCONT`.
    Stop(usize),
    /// Its connections are reset.
    Reset(usize),
    /// Its connections are reset, and new ones refused.
    Refuse(usize),
    /// Nothing arrives in either direction.
    HalfOpen(usize),
    /// What it sends vanishes.
    Mute(usize),
    /// What it is sent vanishes: its commands are carried out.
    Deafen(usize),
    /// What it sends arrives this many milliseconds later.
    Delay(usize, u64),
    /// `SIGSTOP` for the server, then `SIGCONT`.
    StopServer,
    /// The server saves a snapshot.
    Save,
    /// The server is killed and started again, with what it saved last.
    RestartOld,
    /// The server is killed and started again, empty.
    RestartEmpty,
    /// A replica is promoted that has nothing of what was written while this lasts; then the primary is killed, and its
    /// address leads to the other one.
    FailOver,
    /// The server closes all connections.
    KillClients,
    /// `FLUSHALL`
    Flush,
    /// The server is full, and evicts what was not used lately.
    Pressure,
    /// This many keys are dropped, whatever they are.
    Evict(u64),
}

impl Blow {
    /// Whether marks and cells on the server may be gone afterwards.
    #[must_use]
    pub fn loses(self) -> bool {
        matches!(
            self,
            Self::RestartOld | Self::RestartEmpty | Self::FailOver | Self::Flush | Self::Pressure | Self::Evict(_)
        )
    }
}

/// What is done in a run of this length to so many workers.
#[must_use]
pub fn draw(seed: u64, length: Duration, workers: usize) -> Vec<Step> {
    let mut dice = Dice::new(seed);
    let mut steps = Vec::new();
    // Some time in which entries come to be.
    let mut at = Duration::from_millis(300);
    while at < length {
        let worker = usize::try_from(dice.below(workers as u64)).unwrap_or_default();
        let blow = match dice.below(34) {
            0..=2 => Blow::Kill(worker),
            3..=6 => Blow::Stop(worker),
            7..=8 => Blow::Reset(worker),
            9..=11 => Blow::Refuse(worker),
            12..=14 => Blow::HalfOpen(worker),
            15..=16 => Blow::Mute(worker),
            17..=18 => Blow::Deafen(worker),
            19..=20 => Blow::Delay(worker, dice.between(5, 250)),
            21..=22 => Blow::StopServer,
            23..=25 => {
                // Saved a while before, so that it is old.
                steps.push(Step { at, span: Duration::ZERO, blow: Blow::Save });
                at += Duration::from_millis(dice.between(100, 600));
                Blow::RestartOld
            }
            26 => Blow::RestartEmpty,
            27..=28 => Blow::FailOver,
            29 => Blow::KillClients,
            30 => Blow::Flush,
            31 => Blow::Pressure,
            _ => Blow::Evict(dice.between(1, 12)),
        };
        steps.push(Step { at, span: Duration::from_millis(dice.between(20, 900)), blow });
        // Now and then the next one comes while this one lasts.
        at += Duration::from_millis(dice.between(30, 450));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_schedule() {
        let draw = |seed| draw(seed, Duration::from_secs(60), 3);
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!(draw(1).iter().any(|step| step.blow == Blow::RestartOld));
        assert!(draw(1).iter().any(|step| matches!(step.blow, Blow::Kill(2))));
    }
}
