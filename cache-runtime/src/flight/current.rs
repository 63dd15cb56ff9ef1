//! The flights that the running code leads, so that a function which calls itself with the same key does not wait for
//! itself. Kept per thread and set around each poll, so that it costs nothing but on a miss.

use std::cell::RefCell;
use std::sync::Arc;

use super::Flight;

/// The flights of a loader and those that it runs inside of.
#[derive(Debug)]
pub(crate) struct Node {
    flights: Arc<[Arc<Flight>]>,
    outer: Option<Arc<Self>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Node>>> = const { RefCell::new(None) };
}

impl Node {
    pub(crate) fn below(flights: Arc<[Arc<Flight>]>) -> Arc<Self> {
        let outer = CURRENT.with_borrow(Clone::clone);
        Arc::new(Self { flights, outer })
    }
}

/// Runs `f` as part of `node`'s loader.
pub(crate) fn with<R>(node: &Arc<Node>, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Arc<Node>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0.take());
        }
    }
    let _restore = Restore(CURRENT.replace(Some(Arc::clone(node))));
    f()
}

pub(super) fn contains(flight: &Arc<Flight>) -> bool {
    CURRENT.with_borrow(|current| {
        let mut node = current.as_ref();
        while let Some(at) = node {
            if at.flights.iter().any(|led| Arc::ptr_eq(led, flight)) {
                return true;
            }
            node = at.outer.as_ref();
        }
        false
    })
}
