//! Breadth-first search over all states of a model, so that the first violation found has the shortest way there. Knows
//! nothing of caches.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use super::promise::{Promise, Sights};

/// Something whose states can be enumerated.
pub trait Model {
    /// All there is at one moment.
    type State: Copy + Eq + Hash;
    /// What may happen next.
    type Action: Copy;

    /// Where it begins.
    fn first(&self) -> Self::State;

    /// What may happen in `state`.
    fn actions(&self, state: &Self::State, into: &mut Vec<Self::Action>);

    /// What comes of it.
    fn step(&self, state: &Self::State, action: Self::Action) -> Step<Self::State>;

    /// A step in words.
    fn words(&self, before: &Self::State, action: Self::Action, after: &Step<Self::State>) -> String;
}

/// What came of an action.
#[derive(Clone, Copy, Debug)]
pub struct Step<S> {
    /// The state after it.
    pub state: S,
    /// What was seen to happen.
    pub sights: Sights,
    /// The promise that it broke.
    pub broken: Option<Promise>,
}

/// What a search found.
#[derive(Debug)]
pub struct Explored {
    /// Distinct states.
    pub states: usize,
    /// Steps between them.
    pub steps: usize,
    /// Steps to the state that is farthest from the first.
    pub depth: usize,
    /// All that was seen to happen anywhere.
    pub sights: Sights,
    /// The first violation; the search ended there.
    pub violation: Option<Violation>,
}

/// A promise that is broken, and the shortest way to break it.
#[derive(Debug)]
pub struct Violation {
    /// Which.
    pub promise: Promise,
    /// The steps, in words.
    pub trace: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "broken: {}", self.promise)?;
        self.trace.iter().enumerate().try_for_each(|(at, line)| writeln!(f, "{:>4}. {line}", at + 1))
    }
}

/// Visits every state of `model`, or panics past `limit` of them: a search that was cut short proves nothing.
///
/// States are told apart by 128 bits of a hash, so that millions fit into memory.
///
/// # Panics
///
/// There are more than `limit` states.
pub fn explore<M: Model>(model: &M, limit: usize) -> Explored {
    let first = model.first();
    let mut seen: HashSet<u128, BuildHasherDefault<Given>> = HashSet::default();
    seen.insert(fingerprint(&first));
    // Of each state, in the order of discovery: the one before it, and which of its actions led here.
    let mut ways: Vec<(u32, u8)> = vec![(0, 0)];
    let mut layer = vec![(0_u32, first)];
    let (mut next, mut actions) = (Vec::new(), Vec::new());
    let mut found = Explored { states: 1, steps: 0, depth: 0, sights: Sights::default(), violation: None };
    while !layer.is_empty() {
        for (from, state) in layer.drain(..) {
            actions.clear();
            model.actions(&state, &mut actions);
            for (which, action) in actions.iter().enumerate() {
                let step = model.step(&state, *action);
                found.steps += 1;
                found.sights |= step.sights;
                let which = u8::try_from(which).expect("few actions");
                if let Some(promise) = step.broken {
                    ways.push((from, which));
                    found.violation = Some(Violation { promise, trace: trace(model, &ways) });
                    found.states = seen.len();
                    return found;
                }
                if seen.insert(fingerprint(&step.state)) {
                    assert!(seen.len() <= limit, "more than {limit} states");
                    let index = u32::try_from(ways.len()).expect("few states");
                    ways.push((from, which));
                    next.push((index, step.state));
                }
            }
        }
        std::mem::swap(&mut layer, &mut next);
        found.depth += usize::from(!layer.is_empty());
    }
    found.states = seen.len();
    found
}

/// The steps to the last of `ways`, in words.
fn trace<M: Model>(model: &M, ways: &[(u32, u8)]) -> Vec<String> {
    let mut path = Vec::new();
    let mut at = ways.len() - 1;
    while at != 0 {
        let (from, which) = ways[at];
        path.push(usize::from(which));
        at = from as usize;
    }
    let (mut state, mut actions, mut lines) = (model.first(), Vec::new(), Vec::new());
    for which in path.into_iter().rev() {
        actions.clear();
        model.actions(&state, &mut actions);
        let step = model.step(&state, actions[which]);
        lines.push(model.words(&state, actions[which], &step));
        state = step.state;
    }
    lines
}

fn fingerprint(state: &impl Hash) -> u128 {
    let mut mixer = Mixer { high: 0x243f_6a88_85a3_08d3, low: 0x1319_8a2e_0370_7344 };
    state.hash(&mut mixer);
    mixer.both()
}

/// Quick without optimization, where most of a search's time goes: one multiplication for each field and half.
struct Mixer {
    high: u64,
    low: u64,
}

impl Mixer {
    #[inline]
    fn mix(&mut self, word: u64) {
        self.high = (self.high.rotate_left(25) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.low = (self.low.rotate_left(29) ^ word).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    }

    fn both(&self) -> u128 {
        let spread = |word: u64| (word ^ (word >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        (u128::from(spread(self.high)) << 64) | u128::from(spread(self.low))
    }
}

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.mix(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.mix(u64::from(byte));
    }

    fn write_usize(&mut self, length: usize) {
        self.mix(length as u64);
    }

    fn write_isize(&mut self, variant: isize) {
        self.mix(variant as u64);
    }

    fn finish(&self) -> u64 {
        self.high ^ self.low
    }
}

/// Takes a fingerprint as its own hash.
#[derive(Default)]
struct Given(u64);

impl Hasher for Given {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only fingerprints are kept")
    }

    fn write_u128(&mut self, fingerprint: u128) {
        self.0 = fingerprint as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two counters up to four that go up one at a time; both at three is forbidden, or nothing is.
    struct Counters {
        forbidden: bool,
    }

    impl Model for Counters {
        type State = (u8, u8);
        type Action = bool;

        fn first(&self) -> (u8, u8) {
            (0, 0)
        }

        fn actions(&self, state: &(u8, u8), into: &mut Vec<bool>) {
            into.extend((state.0 < 4).then_some(true));
            into.extend((state.1 < 4).then_some(false));
        }

        fn step(&self, state: &(u8, u8), action: bool) -> Step<(u8, u8)> {
            let state = if action { (state.0 + 1, state.1) } else { (state.0, state.1 + 1) };
            let broken = (self.forbidden && state == (3, 3)).then_some(Promise::Acknowledged);
            Step { state, sights: Sights::default(), broken }
        }

        fn words(&self, _: &(u8, u8), action: bool, _: &Step<(u8, u8)>) -> String {
            action.to_string()
        }
    }

    #[test]
    fn every_state_and_step_is_visited_once() {
        let found = explore(&Counters { forbidden: false }, 100);
        assert_eq!((found.states, found.steps, found.depth), (25, 40, 8));
        assert!(found.violation.is_none());
    }

    #[test]
    fn a_trace_is_as_short_as_can_be() {
        let violation = explore(&Counters { forbidden: true }, 100).violation.expect("both reach three");
        assert_eq!(violation.trace.len(), 6, "{violation}");
    }

    #[test]
    #[should_panic(expected = "more than 24 states")]
    fn a_search_that_is_cut_short_is_no_proof() {
        explore(&Counters { forbidden: false }, 24);
    }
}
