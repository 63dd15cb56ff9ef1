//! One call of an annotated function: which cache, which tenant, which site. The start of everything in the engine.

use std::sync::Arc;

use super::core::{Core, Function, Hurdles};
use super::sink::Early;
use crate::error::{Error, ErrorKind};
use crate::key::{Key, KeyWriter};
use crate::meter;
use crate::report;
use crate::site::Site;
use crate::stats::NO_CACHE;
use crate::tenant::Tenant;

/// A cache for the length of a call.
#[derive(Clone, Debug)]
pub(crate) enum Held<'c> {
    /// The caller keeps it.
    Borrowed(&'c Arc<Core>),
    /// It came from a task-local scope.
    Owned(Arc<Core>),
}

impl Held<'_> {
    #[inline]
    pub(crate) fn core(&self) -> &Arc<Core> {
        match self {
            Held::Borrowed(core) => core,
            Held::Owned(core) => core,
        }
    }
}

/// Why a call goes past the cache.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusal {
    /// The global cache could not be built, for this reason.
    NoCache(&'static Error),
    /// Isolation is enforced and no tenant is in scope.
    NoTenant,
    /// It is switched off on purpose: nothing is wrong.
    Disabled,
    /// It was closed, or a test told it to fail.
    Down,
}

impl Refusal {
    #[cold]
    fn of(hurdles: u8, knows_tenant: bool) -> Option<Self> {
        if hurdles & Hurdles::DISABLED != 0 {
            Some(Self::Disabled)
        } else if hurdles & (Hurdles::CLOSED | Hurdles::FAILING) != 0 {
            Some(Self::Down)
        } else {
            (!knows_tenant).then_some(Self::NoTenant)
        }
    }

    fn error(self, held: Option<&Held<'_>>) -> Error {
        match self {
            Self::NoCache(error) => error.again(),
            Self::NoTenant => Error::new(
                ErrorKind::TenantRequired,
                "tenant isolation is enforced and no tenant is in scope: wrap the call in `Tenant::new(..)?.scope(..)`",
            ),
            Self::Disabled => {
                Error::new(ErrorKind::Unavailable, "the cache is switched off (`enabled`, `CACHE_ENABLED`)")
            }
            Self::Down => held
                .and_then(|held| held.core().usable().err())
                .unwrap_or_else(|| Error::new(ErrorKind::Unavailable, "the cache was not usable a moment ago")),
        }
    }

    /// What is said once about it; `None` where nothing is wrong.
    fn cause(self) -> Option<&'static str> {
        match self {
            Self::NoCache(_) => Some("no cache: annotated functions call their source"),
            Self::NoTenant => Some("no tenant in scope: annotated functions call their source"),
            Self::Down => Some("the cache is closed or fails: annotated functions call their source"),
            Self::Disabled => None,
        }
    }
}

/// One call. Made by an expansion, used for one key or one write.
#[derive(Debug)]
pub struct Call<'c> {
    held: Option<Held<'c>>,
    pub(crate) site: &'static Site,
    tenant: Option<Tenant>,
    refusal: Option<Refusal>,
}

impl<'c> Call<'c> {
    #[inline]
    pub(crate) fn new(held: Result<Held<'c>, &'static Error>, site: &'static Site, tenant: Option<Tenant>) -> Self {
        let tenant = if site.options.global_tenant { None } else { tenant };
        let held = match held {
            Ok(held) => held,
            Err(error) => return Self { held: None, site, tenant, refusal: Some(Refusal::NoCache(error)) },
        };
        let hurdles = held.core().hurdles();
        let refusal =
            if hurdles == 0 { None } else { Refusal::of(hurdles, tenant.is_some() || site.options.global_tenant) };
        Self { held: Some(held), site, tenant, refusal }
    }

    /// The cache, unless the call goes past it.
    #[inline]
    pub(crate) fn core(&self) -> Option<&Arc<Core>> {
        if self.refusal.is_some() { None } else { self.held.as_ref().map(Held::core) }
    }

    /// The cache that has to hear of an invalidation: also one that is not used just now, since it may be again. Who has
    /// no tenant does not say whose entries are meant.
    pub(crate) fn reachable(&self) -> Option<&Arc<Core>> {
        match self.refusal {
            None | Some(Refusal::Disabled | Refusal::Down) => self.held.as_ref().map(Held::core),
            Some(Refusal::NoCache(_) | Refusal::NoTenant) => None,
        }
    }

    /// The failure that `on_error = fail` returns. A cache that is switched off on purpose is none.
    pub(crate) fn failure(&self) -> Option<Error> {
        match self.refusal {
            None | Some(Refusal::Disabled) => None,
            Some(refusal) => Some(refusal.error(self.held.as_ref())),
        }
    }

    /// The cache, for a direct call, which is told why it cannot have it.
    pub(crate) fn required(&self) -> Result<&Arc<Core>, Error> {
        match (&self.held, self.refusal) {
            (Some(held), None) => Ok(held.core()),
            (held, Some(refusal)) => Err(refusal.error(held.as_ref())),
            (None, None) => Err(Error::new(ErrorKind::Unavailable, "there is no cache")),
        }
    }

    #[inline]
    pub(crate) fn tenant(&self) -> Option<&Tenant> {
        self.tenant.as_ref()
    }

    /// The function's counters in this cache, also while the cache is not used.
    #[inline]
    pub(crate) fn function(&self) -> Option<&Function> {
        self.held.as_ref().map(|held| held.core().function(self.site))
    }

    /// Counts a call that the cache could not serve, and says so once per cause and interval.
    pub(crate) fn degraded(&self) {
        if matches!(self.refusal, Some(Refusal::Disabled)) {
            return;
        }
        match self.function() {
            Some(function) => function.counters.degraded.count(self.failure().map(|error| error.kind())),
            None => {
                self.site.past.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let meter = meter::Scope::unbuilt().function(self.site.resource());
                meter.counter(meter::name::DEGRADED, Some(NO_CACHE)).add(1);
            }
        }
        if let Some((refusal, cause)) = self.refusal.and_then(|refusal| Some((refusal, refusal.cause()?))) {
            let (function, error) = (self.site.name, refusal.error(self.held.as_ref()));
            report::warn(cause, &format_args!("`{function}`: {error}"));
        }
    }

    /// The physical key that `render` writes.
    #[inline]
    pub fn key(&self, render: impl FnOnce(&mut KeyWriter)) -> KeyWriter {
        let mut writer = KeyWriter::new(self.site.seed());
        self.write_key(&mut writer, render);
        writer
    }

    /// [`key`](Self::key) in place.
    #[inline]
    pub(super) fn write_key(&self, writer: &mut KeyWriter, render: impl FnOnce(&mut KeyWriter)) {
        if let Some(core) = self.core() {
            core.prefix(writer, self.tenant());
        }
        render(writer);
        writer.finish();
    }

    /// The physical key of a logical one (`key_with`).
    pub fn key_from(&self, key: impl Into<Key>) -> KeyWriter {
        let key = key.into();
        let template = self.site.computed(key.template());
        let mut writer = match self.core() {
            Some(core) => core.writer(self.tenant(), template),
            None => KeyWriter::new(template),
        };
        writer.lit(key.as_str());
        writer.finish();
        writer
    }

    /// [`key_from`](Self::key_from) for a direct call, which says what is wrong.
    pub(crate) fn direct_key(&self, key: impl Into<Key>) -> Result<KeyWriter, Error> {
        let key = key.into();
        if key.as_str().is_empty() {
            return Err(Error::new(ErrorKind::InvalidKey, "the key is empty"));
        }
        Ok(self.key_from(key))
    }

    /// Takes what is known of the entry before its load.
    pub fn early(&self) -> Early {
        Early::new(self.core().is_some())
    }

    /// Counts a call that `bypass` sent to the source.
    pub fn bypassed(&self) {
        if let Some(function) = self.function() {
            function.counters.bypassed.increment();
        }
    }

    /// The function's counters.
    pub fn stats(&self) -> crate::stats::FunctionStats {
        let mut stats = self.function().map(|function| function.counters.snapshot()).unwrap_or_default();
        let past = self.site.past.load(std::sync::atomic::Ordering::Relaxed);
        (stats.degraded, stats.degraded_by.other) = (stats.degraded + past, stats.degraded_by.other + past);
        stats
    }

    /// A call that owns its cache, for what outlives this one.
    pub(crate) fn to_owned_call(&self) -> Call<'static> {
        Call {
            held: self.held.as_ref().map(|held| Held::Owned(Arc::clone(held.core()))),
            site: self.site,
            tenant: self.tenant.clone(),
            refusal: self.refusal,
        }
    }
}

/// The logical key that `render` writes, for `get_user::key(42)`.
pub fn logical_key(site: &'static Site, render: impl FnOnce(&mut KeyWriter)) -> Key {
    let mut writer = KeyWriter::new(site.seed());
    render(&mut writer);
    writer.into_key()
}

/// A logical key of a template that is not a function's own (`key!`, `put = ".."`).
pub fn template_key(text: &'static str, render: impl FnOnce(&mut KeyWriter)) -> Key {
    let mut writer = KeyWriter::new(crate::key::template_seed(text));
    render(&mut writer);
    writer.into_key()
}
