//! A loader while it leads: it knows what it leads, and shows whether it is being polled.

use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use super::{Flight, current};
use crate::clock::alive_now;
use crate::sync::Ordering;

/// Notes when the leader's future was woken and not polled. See [`Flight::is_abandoned`].
#[derive(Debug)]
struct Pulse {
    flights: Arc<[Arc<Flight>]>,
    inner: parking_lot::Mutex<Waker>,
}

impl Wake for Pulse {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let now = alive_now().max(1);
        for flight in &*self.flights {
            let _ = flight.woken.compare_exchange(0, now, Ordering::SeqCst, Ordering::SeqCst);
        }
        // Cloned first: a waker may run other code, which must not find this lock held.
        let waker = self.inner.lock().clone();
        waker.wake();
    }
}

/// The loader's future while it leads `flights`: it knows what it leads, and shows that it is being polled.
pub(crate) async fn leading<F: Future>(flights: Arc<[Arc<Flight>]>, body: F) -> F::Output {
    let mut body = std::pin::pin!(body);
    let node = current::Node::below(Arc::clone(&flights));
    let mut pulse: Option<(Arc<Pulse>, Waker)> = None;
    std::future::poll_fn(|cx| {
        for flight in &*flights {
            flight.woken.store(0, Ordering::SeqCst);
        }
        let (pulse, waker) = pulse.get_or_insert_with(|| {
            let inner = parking_lot::Mutex::new(cx.waker().clone());
            let pulse = Arc::new(Pulse { flights: Arc::clone(&flights), inner });
            let waker = Waker::from(Arc::clone(&pulse));
            (pulse, waker)
        });
        pulse.inner.lock().clone_from(cx.waker());
        current::with(&node, || body.as_mut().poll(&mut Context::from_waker(waker)))
    })
    .await
}

/// A synchronous loader while it leads `flight`.
pub(crate) fn leading_blocking<R>(flight: &Arc<Flight>, body: impl FnOnce() -> R) -> R {
    current::with(&current::Node::below(Arc::new([Arc::clone(flight)])), body)
}
