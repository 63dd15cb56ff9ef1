//! The only place that reads time. Everything above receives a [`Clock`] and asks it.

#[cfg(feature = "testing")]
use std::sync::Arc;
use std::sync::OnceLock;
#[cfg(feature = "testing")]
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Nanoseconds on a [`Clock`]: monotonic, comparable only with times of the same clock.
pub(crate) type Nanos = u64;

/// No expiry. Every real time is smaller.
pub(crate) const FOREVER: Nanos = u64::MAX;

/// What the machine's clock says when it begins: nine years, so that there is a time for what is older than the process.
const BEFORE: Nanos = 1 << 58;

/// A monotonic clock: the machine's, or one that a test moves.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    source: Source,
    /// A moment on the wall clock and on this one.
    origin: (SystemTime, Nanos),
}

#[derive(Clone, Debug)]
enum Source {
    /// The time-stamp counter where it can be trusted (10 ns a reading), else the system's monotonic clock.
    Machine { clock: quanta::Clock, start: u64 },
    #[cfg(feature = "testing")]
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// All clocks of the machine begin at the same moment: their times are those of [`alive_now`].
    pub(crate) fn machine() -> Self {
        static BEGIN: OnceLock<(quanta::Clock, u64)> = OnceLock::new();
        let (clock, start) = BEGIN.get_or_init(|| {
            let clock = quanta::Clock::new();
            let start = clock.raw();
            (clock, start)
        });
        Self::of(Source::Machine { clock: clock.clone(), start: *start })
    }

    #[cfg(feature = "testing")]
    pub(crate) fn manual(now: Arc<AtomicU64>) -> Self {
        Self::of(Source::Manual(now))
    }

    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    fn of(source: Source) -> Self {
        let mut clock = Self { source, origin: (SystemTime::now(), 0) };
        clock.origin.1 = clock.now();
        clock
    }

    #[inline]
    pub(crate) fn now(&self) -> Nanos {
        match &self.source {
            Source::Machine { clock, start } => BEFORE + clock.delta_as_nanos(*start, clock.raw()),
            #[cfg(feature = "testing")]
            Source::Manual(now) => now.load(Ordering::Acquire),
        }
    }

    /// The machine's time, as [`alive_now`] says it, where this clock has just said `now`.
    #[inline]
    pub(crate) fn alive(&self, now: Nanos) -> Nanos {
        match &self.source {
            Source::Machine { .. } => now,
            #[cfg(feature = "testing")]
            Source::Manual(_) => alive_now(),
        }
    }

    /// The wall-clock time of `at`, for people. Never used to decide anything. Counted from when the clock was made, so
    /// that the same time is always said in the same way.
    pub(crate) fn wall(&self, at: Nanos) -> SystemTime {
        let (wall, then) = self.origin;
        if at >= then {
            wall.checked_add(Duration::from_nanos(at - then)).unwrap_or(wall)
        } else {
            wall.checked_sub(Duration::from_nanos(then - at)).unwrap_or(wall)
        }
    }
}

/// `now + span`, where what cannot be represented is [`FOREVER`].
pub(crate) fn after(now: Nanos, span: Duration) -> Nanos {
    u64::try_from(span.as_nanos()).ok().and_then(|span| now.checked_add(span)).unwrap_or(FOREVER)
}

/// Milliseconds of the machine's wall clock, which other processes can read. Clocks differ: nothing that must be right is
/// decided by it.
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The machine's monotonic time, for deciding whether a task is alive. A test's clock does not move it.
pub(crate) fn alive_now() -> Nanos {
    static CLOCK: OnceLock<Clock> = OnceLock::new();
    CLOCK.get_or_init(Clock::machine).now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_saturates_to_forever() {
        assert_eq!(after(5, Duration::from_nanos(7)), 12);
        assert_eq!(after(5, Duration::MAX), FOREVER);
        assert_eq!(after(u64::MAX - 1, Duration::from_secs(1)), FOREVER);
    }

    #[test]
    fn the_machine_clock_moves_forward() {
        let clock = Clock::machine();
        let first = clock.now();
        assert!(clock.now() >= first);
    }
}
