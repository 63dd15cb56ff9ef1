//! Waking futures at a time, without asking the runtime for a timer: users' runtimes may have none, or one that a test has
//! stopped. One thread, started by the first wait of the process, which sleeps until the next deadline.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};
use std::thread::Thread;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{FOREVER, Nanos, alive_now};

/// Who is to be woken, by deadline and a number of its own.
type Deadlines = BTreeMap<(Nanos, u64), Waker>;

struct Waiting {
    deadlines: Deadlines,
    next: u64,
    /// When the thread looks again by itself. A wait that ended early leaves it as it is, so that waits which hardly ever
    /// last to their deadline (the answers of servers) do not wake the thread each.
    looks_at: Nanos,
}

struct Timer {
    waiting: Mutex<Waiting>,
    thread: OnceLock<Option<Thread>>,
}

static TIMER: Timer = Timer {
    waiting: Mutex::new(Waiting { deadlines: Deadlines::new(), next: 0, looks_at: FOREVER }),
    thread: OnceLock::new(),
};

/// Ready from `deadline` on. Dropping it forgets the deadline.
#[derive(Debug)]
pub(crate) struct Sleep {
    deadline: Nanos,
    registered: Option<u64>,
}

impl Sleep {
    /// Until this time of [`alive_now`].
    pub(crate) fn until(deadline: Nanos) -> Self {
        Self { deadline, registered: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if alive_now() >= self.deadline {
            return Poll::Ready(());
        }
        let mut waiting = TIMER.waiting.lock();
        let id = self.registered.unwrap_or_else(|| {
            waiting.next += 1;
            waiting.next
        });
        self.registered = Some(id);
        let too_late = self.deadline < waiting.looks_at;
        if too_late {
            waiting.looks_at = self.deadline;
        }
        let old = waiting.deadlines.insert((self.deadline, id), cx.waker().clone());
        drop(waiting);
        drop(old);
        if too_late {
            TIMER.nudge();
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.registered {
            let waker = TIMER.waiting.lock().deadlines.remove(&(self.deadline, id));
            drop(waker);
        }
    }
}

/// What `future` gives, unless `deadline` comes first.
pub(crate) async fn within<F: Future>(deadline: Nanos, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut sleep = Sleep::until(deadline);
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Pin::new(&mut sleep).poll(cx).map(|()| None),
    })
    .await
}

impl Timer {
    /// Wakes the thread, so that it looks at its first deadline again.
    fn nudge(&self) {
        let start = || {
            let thread = std::thread::Builder::new().name("cache-runtime-timer".to_owned()).spawn(|| TIMER.run());
            // Where no thread can be had, waiters are woken by their leaders only.
            thread.ok().map(|handle| handle.thread().clone())
        };
        if let Some(thread) = self.thread.get_or_init(start) {
            thread.unpark();
        }
    }

    fn run(&self) {
        loop {
            let (due, next) = self.take_due(alive_now());
            for waker in due {
                // A waker is a runtime's code; one that panics must not end the others' timer.
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| waker.wake()));
            }
            match next {
                Some(at) => std::thread::park_timeout(Duration::from_nanos(at.saturating_sub(alive_now()))),
                None => std::thread::park(),
            }
        }
    }

    fn take_due(&self, now: Nanos) -> (Vec<Waker>, Option<Nanos>) {
        let mut waiting = self.waiting.lock();
        let later = waiting.deadlines.split_off(&(now.saturating_add(1), 0));
        let due = std::mem::replace(&mut waiting.deadlines, later);
        let next = waiting.deadlines.first_key_value().map(|((at, _), _)| *at);
        waiting.looks_at = next.unwrap_or(FOREVER);
        (due.into_values().collect(), next)
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn sleeps_end_in_the_order_of_their_deadlines_without_a_runtime() {
        let start = alive_now();
        let (send, ends) = std::sync::mpsc::channel();
        for ms in [60_u64, 20, 40] {
            let send = send.clone();
            std::thread::spawn(move || {
                let mut sleep = std::pin::pin!(Sleep::until(start + ms * 1_000_000));
                let waker = Waker::from(std::sync::Arc::new(Unpark(std::thread::current())));
                while sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                    std::thread::park();
                }
                assert!(alive_now() >= start + ms * 1_000_000);
                let _ = send.send(ms);
            });
        }
        drop(send);
        assert_eq!(ends.iter().collect::<Vec<_>>(), [20, 40, 60]);
    }

    #[test]
    fn a_dropped_sleep_leaves_nothing_behind() {
        let mut sleep = Box::pin(Sleep::until(alive_now() + 3_600_000_000_000));
        assert!(sleep.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let key = (sleep.deadline, sleep.registered.unwrap_or_default());
        assert!(TIMER.waiting.lock().deadlines.contains_key(&key));
        drop(sleep);
        assert!(!TIMER.waiting.lock().deadlines.contains_key(&key));
    }

    struct Unpark(Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
}
