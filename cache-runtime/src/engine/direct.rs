//! Direct access by key: what `Cache`'s own methods do. Everything that changes one key does it under the key's lock, so
//! that it is atomic against fills, invalidations and other direct calls.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::call::Call;
use super::core::{Core, NEVER};
use super::name::{self, Covers};
use super::sink::{Tags, canonical};
use super::targets::{drop_matching, physical_key};
use super::{load, read};
use crate::cell::CellSet;
use crate::error::{Error, ErrorKind};
use crate::key::{Key, KeyWriter, Pattern};
use crate::memory::Removed;
use crate::policy::{Jitter, Lifetime};
use crate::record::{Record, Stored};
use crate::shape::{Checked, Fallible, Handling, Maybe, Never, One, Owned, Shared};
use crate::site::Site;

/// Direct calls are counted as a function of their own.
pub(crate) static DIRECT: Site = Site::read("direct", "cache_runtime", file!(), line!());

/// How a direct call sees values: absent or shared.
pub(crate) type DirectShape<V> = Checked<V, Never, Maybe, Shared>;
/// How `get_or_load` sees its loader's result.
pub(crate) type LoaderShape<V, E> = Checked<V, Fallible<E>, One, Owned>;

/// The shape of a direct call for `V`.
pub(crate) fn shape<V: crate::shape::Storable>() -> DirectShape<V> {
    Checked::new(Handling::STORABLE)
}

/// The shape of a loader.
pub(crate) fn loader_shape<V: crate::shape::Storable, E>() -> LoaderShape<V, E> {
    Checked::new(Handling::STORABLE)
}

/// How long an entry still lives.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let cache = cache_runtime::Cache::memory();
/// use std::time::Duration;
/// use cache_runtime::Remaining;
///
/// cache.set("k", 1_u64).ttl("5m").await?;
/// assert!(matches!(cache.ttl("k").await?, Some(Remaining::For(left)) if left <= Duration::from_secs(300)));
/// cache.expire("k", "forever").await?;
/// assert_eq!(cache.ttl("k").await?, Some(Remaining::Forever));
/// assert_eq!(cache.ttl("missing").await?, None);
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remaining {
    /// This long.
    For(Duration),
    /// It does not expire.
    Forever,
}

impl Remaining {
    /// The time left; `None` where it does not expire.
    ///
    /// ```
    /// use std::time::Duration;
    /// use cache_runtime::Remaining;
    ///
    /// assert_eq!(Remaining::For(Duration::from_secs(5)).duration(), Some(Duration::from_secs(5)));
    /// assert_eq!(Remaining::Forever.duration(), None);
    /// ```
    #[must_use]
    pub fn duration(self) -> Option<Duration> {
        match self {
            Self::For(left) => Some(left),
            Self::Forever => None,
        }
    }
}

impl Call<'_> {
    fn direct(&self, key: &KeyWriter) -> Result<Option<Arc<Record>>, Error> {
        let core = self.required()?;
        Ok(core
            .valid(core.store_of(core.function(self.site)), key.as_bytes())
            .filter(|record| record.fits(key.template())))
    }

    /// The value, not counted.
    pub(crate) fn glance<S: crate::shape::Cached>(&self, key: &KeyWriter, shape: S) -> Option<S::Ret> {
        let core = self.core()?;
        read::look(core, core.function(self.site), key, shape, core.now(), |_, _| ())
    }

    /// The value, counted.
    pub(crate) fn get<V: crate::shape::Storable>(&self, key: &KeyWriter) -> Result<Option<Arc<V>>, Error> {
        let core = self.required()?;
        Ok(self.hit_under(key, shape::<V>()).unwrap_or_else(|| {
            core.function(self.site).tally().inspect(|counters| counters.misses.increment());
            None
        }))
    }

    pub(crate) fn exists(&self, key: &KeyWriter) -> Result<bool, Error> {
        Ok(self.direct(key)?.is_some())
    }

    /// Stores a value that the caller claims. `only_new`: unless something valid is there.
    pub(crate) fn set<V: crate::shape::Storable>(
        &self,
        key: &KeyWriter,
        value: Arc<V>,
        claim: &Claimed,
        only_new: bool,
    ) -> Result<bool, Error> {
        let core = self.required()?;
        let mut cells = CellSet::default();
        core.implicit_cells(self.tenant(), self.site, claim.namespace.as_deref(), &mut cells);
        let mut tags = Tags::new(core, self.tenant(), &mut cells, None);
        for tag in &claim.tags {
            tags.push(tag);
        }
        let bytes = || crate::codec::size(&*value);
        let stored = Stored::Some(Arc::clone(&value) as _);
        let life = claim.life.unwrap_or_default();
        if core.expiry(core.now(), life, Jitter::None).is_none() {
            return Err(Error::new(
                ErrorKind::InvalidTtl,
                "a time to live of zero stores nothing; use `delete` to drop an entry",
            ));
        }
        let record = load::record(core, self, key.as_bytes(), stored, claim.life, key.template(), 0, cells, bytes);
        let Some(record) = record else {
            // The caller has said that the old value is not true any more.
            core.drop_key(key.as_bytes());
            return Err(super::put::too_large());
        };
        let store = core.store_of(core.function(self.site));
        let insert = || {
            if only_new && core.valid(store, key.as_bytes()).is_some() {
                return None;
            }
            Some(store.map().insert(key.as_bytes().into(), Arc::new(record)))
        };
        Ok(core.change_key(key.as_bytes(), insert).is_some())
    }

    /// Drops the entry and keeps its load in flight from undoing that. Returns whether there was one.
    pub(crate) fn delete(&self, key: &KeyWriter) -> Result<bool, Error> {
        Ok(self.required()?.drop_key(key.as_bytes()))
    }

    /// Takes the value out.
    pub(crate) fn pop<V: crate::shape::Storable>(&self, key: &KeyWriter) -> Result<Option<Arc<V>>, Error> {
        let core = self.required()?;
        let (found, _removed) = core.change_key(key.as_bytes(), || {
            let value = self.direct(key).map(|found| match found.as_deref() {
                Some(Record { value: Stored::Some(value), .. }) => Arc::clone(value).downcast::<V>().ok(),
                _ => None,
            });
            // What is of another type is not this caller's to take.
            let removed =
                if matches!(value, Ok(Some(_))) { core.remove_everywhere(key.as_bytes()) } else { Removed::new() };
            (value, removed)
        });
        found
    }

    /// Gives an entry another life from now on.
    pub(crate) fn expire(&self, key: &KeyWriter, life: Lifetime) -> Result<bool, Error> {
        let core = self.required()?;
        let Some(expires) = core.expiry(core.now(), life, Jitter::None) else { return self.delete(key) };
        core.flights
            .exclusive(key.as_bytes(), || Ok(self.direct(key)?.map(|record| record.set_expires(expires)).is_some()))
    }

    pub(crate) fn remaining(&self, key: &KeyWriter) -> Result<Option<Remaining>, Error> {
        let now = self.required()?.now();
        Ok(self.direct(key)?.map(|record| match record.expires() {
            NEVER => Remaining::Forever,
            expires => Remaining::For(Duration::from_nanos(expires.saturating_sub(now))),
        }))
    }

    /// Counts on: a counter begins at 0 and keeps its expiry. `add` says `None` where it would overflow.
    pub(crate) fn count(&self, key: &KeyWriter, add: impl FnOnce(i64) -> Option<i64>) -> Result<i64, Error> {
        let core = self.required()?;
        let store = core.store_of(core.function(self.site));
        let (sum, _removed) = core.change_key(key.as_bytes(), || {
            let found = core.valid(store, key.as_bytes());
            let (start, old) = match &found {
                None => (0, None),
                Some(record) => match &record.value {
                    Stored::Some(value) => match value.downcast_ref::<i64>() {
                        Some(value) => (*value, Some(record)),
                        None => {
                            return Err(Error::new(
                                ErrorKind::WrongType,
                                "the value under the key is not a counter (`i64`)",
                            ));
                        }
                    },
                    _ => (0, None),
                },
            };
            let sum = add(start).ok_or_else(|| Error::new(ErrorKind::WrongType, "the counter would overflow"))?;
            let stored = Stored::Some(Arc::new(sum) as _);
            let record = match old {
                Some(old) => old.remade(stored, old.cells.clone()),
                None => {
                    let mut cells = CellSet::default();
                    core.implicit_cells(self.tenant(), self.site, None, &mut cells);
                    let now = core.now();
                    let expires = core.expiry(now, Lifetime::default(), Jitter::None).unwrap_or(NEVER);
                    Record::new(key.as_bytes(), stored, 0, now, expires, cells)
                }
            };
            Ok((sum, store.map().insert(key.as_bytes().into(), Arc::new(record))))
        })?;
        Ok(sum)
    }

    /// Labels an entry that is there with more tags.
    pub(crate) fn tag(&self, key: &KeyWriter, tags: &[Box<[u8]>]) -> Result<bool, Error> {
        let core = self.required()?;
        let (done, _removed) = core.flights.exclusive(key.as_bytes(), || {
            let mut removed = Removed::new();
            let mut done = false;
            core.each_store(|map| {
                let Some(record) = map.get(key.as_bytes()).filter(|record| record.is_valid(core.now())) else { return };
                let mut cells = record.cells.clone();
                let mut sink = Tags::new(core, self.tenant(), &mut cells, None);
                for tag in tags {
                    sink.push(tag);
                }
                removed.extend(map.insert(key.as_bytes().into(), Arc::new(record.remade(record.value.clone(), cells))));
                done = true;
            });
            (done, removed)
        });
        Ok(done)
    }

    /// Logical keys of this tenant, or of none, that match.
    pub(crate) fn keys(&self, pattern: &Pattern) -> Result<Vec<Key>, Error> {
        let core = self.required()?;
        let now = core.now();
        let mut keys = Vec::new();
        core.each_store(|map| {
            map.for_each(&mut |key, record| {
                let logical = name::logical_of(&core.settings.prefix, self.tenant(), key);
                if let Some(logical) = logical.filter(|key| pattern.matches(key) && record.is_valid(now)) {
                    keys.push(Key::new(String::from_utf8_lossy(logical)));
                }
            });
        });
        Ok(keys)
    }

    pub(crate) fn delete_match(&self, pattern: &Pattern) -> Result<u64, Error> {
        Ok(drop_matching(self.required()?, self.tenant(), pattern))
    }

    /// Makes everything under these tags invalid, and drops the entries of that name.
    pub(crate) fn invalidate_tags(&self, tags: &[Box<[u8]>]) -> Result<(), Error> {
        let core = self.required()?;
        for tag in tags {
            core.cells.invalidate(&name::cell(Covers::Tag, self.tenant(), tag));
            core.drop_key(&physical_key(core, self, tag));
        }
        core.function(self.site).counters.invalidations.add(tags.len() as u64);
        Ok(())
    }

    pub(crate) fn invalidate_namespace(&self, namespace: &str) -> Result<(), Error> {
        let core = self.required()?;
        core.cells.invalidate(&name::cell(Covers::Namespace, self.tenant(), &canonical(namespace)));
        Ok(())
    }

    /// Drops everything of this tenant; outside of one, everything.
    pub(crate) fn clear_all(&self) -> Result<(), Error> {
        let core = self.required()?;
        let covers = if self.tenant().is_some() { Covers::Tenant } else { Covers::All };
        core.cells.invalidate(&name::cell(covers, self.tenant(), b""));
        Ok(())
    }

    /// Drops all entries of the call's function.
    pub(crate) fn clear_function(&self) -> Result<(), Error> {
        let core = self.required()?;
        core.cells.invalidate(&name::cell(Covers::Function, self.tenant(), &super::core::function_name(self.site)));
        Ok(())
    }

    /// The record of a key, for people.
    pub(crate) fn record(&self, key: &KeyWriter) -> Result<Option<Arc<Record>>, Error> {
        let core = self.required()?;
        let mut found = None;
        core.each_store(|map| {
            found = found.take().or_else(|| map.get(key.as_bytes()).filter(|record| record.is_valid(core.now())));
        });
        Ok(found)
    }
}

/// What a direct `set` says about an entry.
#[derive(Debug, Default)]
pub(crate) struct Claimed {
    pub(crate) life: Option<Lifetime>,
    pub(crate) tags: Vec<Box<[u8]>>,
    pub(crate) namespace: Option<Box<[u8]>>,
}

/// Sums over everything that a cache holds now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Holdings {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) oldest: Option<u64>,
    pub(crate) newest: Option<u64>,
}

/// Valid entries in memory, and their bytes, by the index of the function whose they are.
pub(crate) fn holdings_by_function(core: &Core) -> HashMap<usize, (u64, u64)> {
    let now = core.now();
    let mut by_function: HashMap<usize, (u64, u64)> = HashMap::new();
    core.each_store(|map| {
        map.for_each(&mut |_, record| {
            if record.is_valid(now) {
                let (entries, bytes) = by_function.entry(record.owner).or_default();
                *entries += 1;
                *bytes += record.bytes;
            }
        });
    });
    by_function
}

pub(crate) fn holdings(core: &Core) -> Holdings {
    let now = core.now();
    let mut sum = Holdings::default();
    core.each_store(|map| {
        map.for_each(&mut |_, record| {
            if record.is_valid(now) {
                sum.entries += 1;
                sum.bytes += record.bytes;
                sum.oldest = Some(sum.oldest.map_or(record.created, |oldest| oldest.min(record.created)));
                sum.newest = Some(sum.newest.map_or(record.created, |newest| newest.max(record.created)));
            }
        });
    });
    sum
}
