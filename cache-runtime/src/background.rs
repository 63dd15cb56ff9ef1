//! Work that outlives the call that started it: bounded, counted, and waited for when a cache is closed. The work itself is its
//! runtime's and is not kept here: it may be dropped anywhere, and may begin more of it as it is dropped. So nothing of it is run or
//! dropped under a lock, and no future of ours that is dropped ends it.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::watch;

/// Bound on tasks that wait to run or run; past it work is refused.
const LIMIT: usize = 1024;

/// Background tasks of one cache.
#[derive(Debug, Default)]
pub(crate) struct Background {
    running: Arc<watch::Sender<Running>>,
}

/// Tasks that have not ended, numbered as they began.
#[derive(Debug, Default)]
struct Running {
    numbers: BTreeSet<u64>,
    next: u64,
}

impl Background {
    /// Runs `work` on the current runtime. `false`: there is no runtime, or too much runs already.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> bool {
        let Ok(runtime) = Handle::try_current() else { return false };
        let Some(place) = Place::take(&self.running) else { return false };
        runtime.spawn(async move {
            work.await;
            // After the work, however that ends: what it begins as it is dropped has its place by then.
            drop(place);
        });
        true
    }

    /// Waits for what has begun by now, and not for what begins meanwhile: while a cache is used, there is no end of that.
    pub(crate) async fn drain(&self) {
        let next = self.running.borrow().next;
        self.until(|running| running.numbers.first().is_none_or(|&first| first >= next)).await;
    }

    /// Waits until nothing runs.
    pub(crate) async fn idle(&self) {
        self.until(|running| running.numbers.is_empty()).await;
    }

    async fn until(&self, done: impl Fn(&Running) -> bool) {
        // It fails when the sender is gone, which is here.
        let _ = self.running.subscribe().wait_for(|running| done(running)).await;
    }

    /// How many tasks have not ended.
    pub(crate) fn len(&self) -> usize {
        self.running.borrow().numbers.len()
    }
}

/// A task's place among those which run, until it is dropped.
struct Place {
    running: Arc<watch::Sender<Running>>,
    number: u64,
}

impl Place {
    fn take(running: &Arc<watch::Sender<Running>>) -> Option<Self> {
        let mut taken = None;
        // Nobody waits for a beginning.
        running.send_if_modified(|running| {
            if running.numbers.len() < LIMIT {
                taken = Some(running.next);
                running.numbers.insert(running.next);
                running.next += 1;
            }
            false
        });
        taken.map(|number| Self { running: Arc::clone(running), number })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Whoever waits does so for the first.
        self.running.send_if_modified(|running| {
            let first = running.numbers.first() == Some(&self.number);
            running.numbers.remove(&self.number);
            first
        });
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    /// Begins more work when it is dropped, as a lease does that is given back.
    struct Leaves {
        background: Arc<Background>,
        /// How many ran just before that.
        seen: mpsc::Sender<usize>,
    }

    impl Drop for Leaves {
        fn drop(&mut self) {
            let _ = self.seen.send(self.background.len());
            self.background.spawn(tokio::task::yield_now());
        }
    }

    fn current() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    #[test]
    fn work_that_a_runtime_drops_as_it_ends_may_begin_more() {
        let (send, seen) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = current();
            let handle = runtime.handle().clone();
            drop(runtime);
            let _within = handle.enter();
            let background = Arc::new(Background::default());
            let leaves = Leaves { background: Arc::clone(&background), seen: send.clone() };
            background.spawn(async move {
                let _leaves = leaves;
                std::future::pending().await
            });
            let _ = send.send(background.len());
        });
        let seen = || seen.recv_timeout(Duration::from_secs(20)).expect("it hangs");
        assert_eq!((seen(), seen()), (1, 0), "it has its place until it is gone");
    }

    #[test]
    fn what_work_leaves_behind_is_waited_for_without_a_gap() {
        current().block_on(async {
            for panics in [false, true] {
                let background = Arc::new(Background::default());
                let (send, seen) = mpsc::channel();
                let leaves = Leaves { background: Arc::clone(&background), seen: send };
                background.spawn(async move {
                    let _leaves = leaves;
                    tokio::task::yield_now().await;
                    assert!(!panics, "as it was told");
                });
                background.idle().await;
                assert_eq!((seen.try_recv(), background.len()), (Ok(1), 0));
            }
        });
    }

    #[test]
    fn a_drain_waits_for_what_had_begun_and_for_nothing_later() {
        current().block_on(async {
            let background = Background::default();
            let begin = || {
                let (end, ended) = oneshot::channel::<()>();
                assert!(background.spawn(async { drop(ended.await) }));
                end
            };
            let (first, second) = (begin(), begin());
            let drained = async {
                background.drain().await;
                background.len()
            };
            let mut drained = std::pin::pin!(drained);
            assert!(is_waiting(&mut drained).await);
            let third = begin();
            drop(second);
            assert!(is_waiting(&mut drained).await, "the first one runs");
            drop(first);
            assert_eq!(drained.await, 1, "the third one runs");
            drop(third);
            background.idle().await;
        });
    }

    #[test]
    fn work_is_refused_past_the_bound_and_without_a_runtime() {
        let background = Background::default();
        assert!(!background.spawn(async {}));
        current().block_on(async {
            for _ in 0..LIMIT {
                assert!(background.spawn(async {}));
            }
            assert!(!background.spawn(async {}));
            background.idle().await;
            assert!(background.spawn(async {}));
        });
    }

    /// Whether a future waits, after everything else that could run has.
    async fn is_waiting(future: &mut std::pin::Pin<&mut impl Future>) -> bool {
        for _ in 0..10 {
            if std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_ready())).await {
                return false;
            }
            tokio::task::yield_now().await;
        }
        true
    }
}
