//! Running several recaches in place: at most so many at once, each on its own.
//!
//! The chain is a type, not a list of boxed trait objects, so that a write's future stays `Send` exactly when the
//! recached functions' are, and arguments may be borrowed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// How recaches went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Succeeded.
    pub done: u64,
    /// Returned `Err` or panicked.
    pub failed: u64,
}

/// No recaches yet.
#[derive(Debug, Default)]
pub struct Recaches;

/// A recache after others.
#[derive(Debug)]
pub struct Then<C, F> {
    before: C,
    future: Option<Pin<Box<F>>>,
    started: bool,
}

impl Recaches {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self
    }

    /// Adds one, which says whether it succeeded.
    #[must_use]
    pub fn call<F: Future<Output = bool>>(self, future: F) -> Then<Self, F> {
        Then { before: self, future: Some(Box::pin(future)), started: false }
    }
}

impl<C, F> Then<C, F> {
    /// Adds one.
    #[must_use]
    pub fn call<G: Future<Output = bool>>(self, future: G) -> Then<Self, G> {
        Then { before: self, future: Some(Box::pin(future)), started: false }
    }
}

/// A chain of recaches.
pub trait RecacheChain {
    /// Polls those that run and starts others while `free` lasts. Ready when all are done.
    fn poll_chain(&mut self, cx: &mut Context<'_>, free: &mut usize, report: &mut Report) -> Poll<()>;
}

impl RecacheChain for Recaches {
    fn poll_chain(&mut self, _cx: &mut Context<'_>, _free: &mut usize, _report: &mut Report) -> Poll<()> {
        Poll::Ready(())
    }
}

impl<C: RecacheChain, F: Future<Output = bool>> RecacheChain for Then<C, F> {
    fn poll_chain(&mut self, cx: &mut Context<'_>, free: &mut usize, report: &mut Report) -> Poll<()> {
        let before = self.before.poll_chain(cx, free, report);
        let Some(future) = &mut self.future else { return before };
        if !self.started && *free == 0 {
            return Poll::Pending;
        }
        self.started = true;
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Pending) => {
                *free = free.saturating_sub(1);
                return Poll::Pending;
            }
            Ok(Poll::Ready(true)) => report.done += 1,
            Ok(Poll::Ready(false)) | Err(_) => report.failed += 1,
        }
        self.future = None;
        before
    }
}

/// Runs a chain, at most `limit` (at least one) at once.
pub async fn run(limit: usize, mut chain: impl RecacheChain) -> Report {
    let mut report = Report::default();
    // Boxed futures never move; the chain itself may.
    std::future::poll_fn(|cx| chain.poll_chain(cx, &mut limit.max(1), &mut report)).await;
    report
}
