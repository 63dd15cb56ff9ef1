//! One call of an annotated function: which cache, which tenant, which site. The start of everything in the engine.

use std::sync::Arc;

use super::core::{Core, Function};
use crate::error::{Error, ErrorKind};
use crate::key::{Key, KeyWriter};
use crate::site::Site;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The global cache could not be built.
    NoCache,
    /// Isolation is enforced and no tenant is in scope.
    NoTenant,
    /// It is switched off, closed or told to fail by a test.
    Off,
}

impl Refusal {
    pub(crate) fn error(self) -> Error {
        match self {
            Self::NoCache => Error::new(ErrorKind::Config, "the global cache could not be built from the environment"),
            Self::NoTenant => Error::new(
                ErrorKind::TenantRequired,
                "tenant isolation is enforced and no tenant is in scope: wrap the call in `Tenant::new(..)?.scope(..)`",
            ),
            Self::Off => Error::new(ErrorKind::Unavailable, "the cache is switched off or closed"),
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
    pub(crate) fn new(held: Option<Held<'c>>, site: &'static Site, tenant: Option<Tenant>) -> Self {
        let tenant = if site.options.global_tenant { None } else { tenant };
        let refusal = match &held {
            None => Some(Refusal::NoCache),
            Some(held) => {
                let core = held.core();
                if !core.serves() {
                    Some(Refusal::Off)
                } else if core.settings.enforce_tenant && tenant.is_none() && !site.options.global_tenant {
                    Some(Refusal::NoTenant)
                } else {
                    None
                }
            }
        };
        Self { held, site, tenant, refusal }
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
            None | Some(Refusal::Off) => self.held.as_ref().map(Held::core),
            Some(Refusal::NoCache | Refusal::NoTenant) => None,
        }
    }

    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    /// The cache, for a direct call, which is told why it cannot have it.
    pub(crate) fn required(&self) -> Result<&Arc<Core>, Error> {
        match (&self.held, self.refusal) {
            (Some(held), None) => Ok(held.core()),
            (Some(held), Some(Refusal::Off)) => {
                held.core().usable()?;
                Err(Refusal::Off.error())
            }
            (_, refusal) => Err(refusal.unwrap_or(Refusal::NoCache).error()),
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

    pub(crate) fn degraded(&self) {
        match self.refusal {
            // Switched off on purpose is not degraded.
            Some(Refusal::Off) if self.held.as_ref().is_some_and(|held| !held.core().settings.enabled) => {}
            _ => {
                if let Some(function) = self.function() {
                    function.counters.degraded.increment();
                }
            }
        }
    }

    /// The physical key that `render` writes.
    #[inline]
    pub fn key(&self, render: impl FnOnce(&mut KeyWriter)) -> KeyWriter {
        let mut writer = match self.core() {
            Some(core) => core.writer(self.tenant(), self.site.seed()),
            None => KeyWriter::new(self.site.seed()),
        };
        render(&mut writer);
        writer.finish();
        writer
    }

    /// The physical key of a logical one (`key_with`).
    pub fn key_from(&self, key: impl Into<Key>) -> KeyWriter {
        let key = key.into();
        let template = self.site.versioned(key.template());
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

    /// Counts a call that `bypass` sent to the source.
    pub fn bypassed(&self) {
        if let Some(function) = self.function() {
            function.counters.bypassed.increment();
        }
    }

    /// The function's counters.
    pub fn stats(&self) -> crate::stats::FunctionStats {
        self.function().map(|function| function.counters.snapshot()).unwrap_or_default()
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
