//! Spans and events (feature `tracing`); without the feature they are nothing, and cost nothing. What is in them is a
//! template, a hash, a tenant and a duration; the key itself only where the program asked for it, and never a value.

#[cfg(not(feature = "tracing"))]
pub(crate) use off::{Span, hears_hits, hit};
#[cfg(feature = "tracing")]
pub(crate) use on::{Span, hears_hits, hit};

use crate::tenant::Tenant;

/// What an operation is about.
#[derive(Debug)]
#[cfg_attr(not(feature = "tracing"), allow(dead_code, reason = "nobody listens"))]
pub(crate) struct About<'a> {
    pub(crate) resource: &'a str,
    pub(crate) tenant: Option<&'a Tenant>,
    /// The key's template.
    pub(crate) template: Option<String>,
    /// The logical key.
    pub(crate) key: Option<&'a [u8]>,
    /// Whether the key may be said.
    pub(crate) says_key: bool,
}

#[cfg(feature = "tracing")]
mod on {
    use tracing::field::{Empty, display};
    use tracing::{Instrument, Level};

    use super::About;
    use crate::meter::Operation;

    macro_rules! span {
        ($name:literal $($parent:tt)*) => {
            tracing::info_span!(
                target: "cache_runtime",
                $($parent)*
                $name,
                operation = Empty,
                resource_type = Empty,
                cache_hit = Empty,
                duration_ms = Empty,
                tenant = Empty,
                key = Empty,
                key_hash = Empty,
                key_text = Empty,
            )
        };
    }

    /// What goes on for a while.
    #[derive(Clone, Debug)]
    pub(crate) struct Span(tracing::Span);

    impl Span {
        /// A part of what goes on in this task. `about` is asked only where somebody listens.
        pub(crate) fn open<'a>(operation: Operation, about: impl FnOnce() -> About<'a>) -> Self {
            let span = match operation {
                Operation::Load => span!("cache.load"),
                Operation::Refresh => span!("cache.refresh"),
                Operation::Recache => span!("cache.recache"),
                Operation::Invalidate => span!("cache.invalidate"),
                Operation::LeaseWait => span!("cache.lease_wait"),
                Operation::Hit | Operation::Write => tracing::Span::none(),
            };
            Self(span).filled(operation, about)
        }

        /// What outlives this task, and was caused by what goes on in it.
        pub(crate) fn follow<'a>(operation: Operation, about: impl FnOnce() -> About<'a>) -> Self {
            let span = match operation {
                Operation::Refresh => span!("cache.refresh" parent: None,),
                Operation::Recache => span!("cache.recache" parent: None,),
                _ => return Self::open(operation, about),
            };
            span.follows_from(tracing::Span::current());
            Self(span).filled(operation, about)
        }

        fn filled<'a>(self, operation: Operation, about: impl FnOnce() -> About<'a>) -> Self {
            if self.0.is_disabled() {
                return self;
            }
            let About { resource, tenant, template, key, says_key } = about();
            self.0.record("operation", operation.name());
            self.0.record("resource_type", resource);
            if matches!(operation, Operation::Load | Operation::Refresh) {
                self.0.record("cache_hit", false);
            }
            if let Some(tenant) = tenant {
                self.0.record("tenant", tenant.as_str());
            }
            if let Some(template) = template {
                self.0.record("key", template);
            }
            if let Some(key) = key {
                self.0.record("key_hash", display(hash(key)));
                if says_key {
                    self.0.record("key_text", display(String::from_utf8_lossy(key)));
                }
            }
            self
        }

        /// Runs `work` in it.
        pub(crate) fn run<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
            work.instrument(self.0.clone())
        }

        /// Runs synchronous work in it.
        pub(crate) fn run_blocking<R>(&self, work: impl FnOnce() -> R) -> R {
            self.0.in_scope(work)
        }

        /// It took so long.
        pub(crate) fn took(&self, nanos: u64) {
            self.0.record("duration_ms", nanos as f64 / 1e6);
        }
    }

    /// Whether anybody hears of hits. One number that all threads read.
    #[inline]
    pub(crate) fn hears_hits() -> bool {
        tracing::enabled!(target: "cache_runtime", Level::TRACE)
    }

    /// Says that a call was answered from the cache.
    #[cold]
    pub(crate) fn hit(about: &About<'_>) {
        let About { resource, tenant, template, key, says_key } = about;
        let text = key.filter(|_| *says_key).map(String::from_utf8_lossy);
        tracing::trace!(
            target: "cache_runtime",
            operation = Operation::Hit.name(),
            resource_type = resource,
            cache_hit = true,
            tenant = tenant.map(crate::tenant::Tenant::as_str),
            key = template.as_deref(),
            key_hash = key.map(hash),
            key_text = text.as_deref(),
            "hit"
        );
    }

    /// Tells keys apart, in this process and in others.
    fn hash(key: &[u8]) -> String {
        blake3::hash(key).to_hex()[..16].to_owned()
    }
}

#[cfg(not(feature = "tracing"))]
mod off {
    use super::About;
    use crate::meter::Operation;

    #[derive(Clone, Debug)]
    pub(crate) struct Span;

    impl Span {
        pub(crate) fn open<'a>(_operation: Operation, _about: impl FnOnce() -> About<'a>) -> Self {
            Self
        }

        pub(crate) fn follow<'a>(_operation: Operation, _about: impl FnOnce() -> About<'a>) -> Self {
            Self
        }

        pub(crate) fn run<F: Future>(&self, work: F) -> F {
            work
        }

        pub(crate) fn run_blocking<R>(&self, work: impl FnOnce() -> R) -> R {
            work()
        }

        pub(crate) fn took(&self, _nanos: u64) {}
    }

    #[inline]
    pub(crate) fn hears_hits() -> bool {
        false
    }

    pub(crate) fn hit(_about: &About<'_>) {}
}
