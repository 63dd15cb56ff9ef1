//! Operations that take time: a span says what goes on and for whom, and the recorder is told how long it took.

use super::call::Call;
use crate::clock::{Nanos, alive_now};
use crate::meter::{Operation, Scope};
use crate::trace::{self, About, Span};

/// An operation under way. It ends when this is dropped, however it ends.
#[derive(Debug)]
pub(crate) struct Timed {
    operation: Operation,
    /// `None`: there is no cache, or its statistics are off.
    meter: Option<Scope>,
    span: Span,
    started: Nanos,
}

impl Timed {
    /// A part of what goes on in this task. `key` is physical.
    pub(crate) fn start(call: &Call<'_>, operation: Operation, key: Option<&[u8]>) -> Self {
        Self::of(call, operation, Span::open(operation, || call.about(key)))
    }

    /// What outlives this task, and was caused by what goes on in it.
    pub(crate) fn follow(call: &Call<'_>, operation: Operation, key: Option<&[u8]>) -> Self {
        Self::of(call, operation, Span::follow(operation, || call.about(key)))
    }

    fn of(call: &Call<'_>, operation: Operation, span: Span) -> Self {
        let counted = call.reachable().filter(|core| core.settings.stats);
        let meter = counted.map(|core| core.settings.meter.clone());
        Self { operation, meter, span, started: alive_now() }
    }

    /// Runs `work` as this operation.
    pub(crate) fn run<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        self.span.run(work)
    }

    /// Runs synchronous work as this operation.
    pub(crate) fn run_blocking<R>(&self, work: impl FnOnce() -> R) -> R {
        self.span.run_blocking(work)
    }

    /// How long it has been under way.
    pub(crate) fn so_far(&self) -> Nanos {
        alive_now().saturating_sub(self.started)
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        let took = self.so_far();
        self.span.took(took);
        if let Some(meter) = &self.meter {
            meter.took(self.operation, took);
        }
    }
}

impl Call<'_> {
    /// What a span says of this call.
    fn about<'k>(&'k self, key: Option<&'k [u8]>) -> About<'k> {
        let core = self.reachable();
        About {
            resource: self.site.resource(),
            tenant: self.tenant(),
            template: self.site.key_text(),
            key: key.and_then(|key| Some(core?.logical(key))),
            says_key: core.is_some_and(|core| core.settings.says_keys),
        }
    }

    /// Says that a call was answered from the cache, to whoever hears it.
    #[inline]
    pub(crate) fn say_hit(&self, key: &[u8]) {
        if trace::hears_hits() {
            self.say(key);
        }
    }

    #[cold]
    fn say(&self, key: &[u8]) {
        trace::hit(&self.about(Some(key)));
    }
}
