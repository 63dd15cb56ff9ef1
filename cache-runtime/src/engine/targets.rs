//! What a write makes invalid: tags, keys, namespaces, patterns; and how keys are dropped by pattern.

use std::sync::Arc;

use super::call::Call;
use super::claim::Claim;
use super::core::Core;
use super::name::{self, Covers};
use super::put::PutTarget;
use super::shared::Shared;
use super::shared::write::SharedClaims;
use super::sink::{IntoTags, canonical, render};
use crate::key::{Key, KeyWriter, Pattern};
use crate::outbox::Invalidation;
use crate::store::Name;
use crate::tags::Watch;
use crate::tenant::Tenant;

/// What a write makes invalid.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    /// Logical tags: each a cell, and the entry of that key.
    tags: Vec<Box<[u8]>>,
    keys: Vec<Box<[u8]>>,
    namespaces: Vec<Box<[u8]>>,
    patterns: Vec<Pattern>,
}

/// Takes what a write makes invalid, and after the body what is written through.
pub struct WriteSink<'w, V> {
    targets: &'w mut Targets,
    /// Where claims go.
    claims: Option<Claims<'w, V>>,
}

/// What is written through after the body.
pub(crate) struct Claims<'w, V> {
    pub(crate) claims: &'w mut Vec<Claim<V>>,
    /// Began before the body.
    pub(crate) watch: &'w Arc<Watch>,
    /// Entries on a shared backend.
    pub(crate) shared: Option<&'w mut SharedClaims<V>>,
}

impl<'w, V> WriteSink<'w, V> {
    pub(crate) fn new(targets: &'w mut Targets, claims: Option<Claims<'w, V>>) -> Self {
        Self { targets, claims }
    }
}

impl<V> WriteSink<'_, V> {
    /// A tag by template.
    pub fn tag(&mut self, _text: &'static str, write: impl FnOnce(&mut KeyWriter)) {
        self.targets.tags.push(render(write).as_bytes().into());
    }

    /// Tags by expression.
    pub fn add<M>(&mut self, tags: impl IntoTags<M>) {
        tags.for_each_tag(&mut |tag| self.targets.tags.push(canonical(tag).into()));
    }

    /// A key by template.
    pub fn key(&mut self, _text: &'static str, write: impl FnOnce(&mut KeyWriter)) {
        self.targets.keys.push(render(write).as_bytes().into());
    }

    /// A key by expression.
    pub fn add_key(&mut self, key: impl Into<Key>) {
        self.targets.keys.push(key.into().as_str().as_bytes().into());
    }

    /// A namespace by template.
    pub fn namespace(&mut self, _text: &'static str, write: impl FnOnce(&mut KeyWriter)) {
        self.targets.namespaces.push(render(write).as_bytes().into());
    }

    /// A namespace by expression.
    pub fn add_namespace(&mut self, namespace: impl AsRef<str>) {
        self.targets.namespaces.push(canonical(namespace.as_ref()).into());
    }

    /// A pattern by template, its values escaped.
    pub fn pattern(&mut self, _text: &'static str, write: impl FnOnce(&mut KeyWriter)) {
        self.targets.patterns.push(Pattern::wild(render(write).as_bytes()));
    }

    /// A pattern by expression.
    pub fn add_pattern(&mut self, pattern: impl AsRef<str>) {
        self.targets.patterns.push(Pattern::glob(pattern.as_ref()));
    }
}

impl<V> WriteSink<'_, V> {
    /// An entry named after the write: it is stored if nobody touched it or its tags since before the body.
    pub fn put(&mut self, target: PutTarget<V>) {
        let Some(Claims { claims, watch, shared }) = &mut self.claims else { return };
        match shared {
            Some(shared) if target.call().shared().is_some() => shared.push_late(target),
            _ => claims.extend(target.claim(watch)),
        }
    }
}

impl Targets {
    /// All of it on a shared backend.
    pub(crate) fn on(&self, shared: &Shared, call: &Call<'_>) -> Invalidation {
        let tenant = call.tenant();
        let physical = |key: &[u8]| call.reachable().map(|core| physical_key(core, call, key));
        let mut what = Invalidation::default();
        for key in self.tags.iter().chain(&self.keys).filter_map(|key| physical(key)) {
            shared.push_entry(&key, &mut what);
        }
        self.tags.iter().for_each(|tag| shared.push_cell(Covers::Tag, tenant, tag, &mut what));
        self.namespaces.iter().for_each(|name| shared.push_cell(Covers::Namespace, tenant, name, &mut what));
        self.patterns.iter().for_each(|pattern| shared.push_pattern(tenant, pattern, &mut what));
        what
    }

    /// What a fence marks on a shared backend: the cells of tags and namespaces, and the leases of keys.
    pub(crate) fn fenced(&self, shared: &Shared, call: &Call<'_>) -> Vec<Name> {
        let tenant = call.tenant();
        let Some(core) = call.reachable() else { return Vec::new() };
        let keys = self.tags.iter().chain(&self.keys);
        let mut names: Vec<Name> = keys.map(|key| shared.lease_name(&physical_key(core, call, key))).collect();
        names.extend(self.tags.iter().map(|tag| shared.cell(Covers::Tag, tenant, tag)));
        names.extend(self.namespaces.iter().map(|name| shared.cell(Covers::Namespace, tenant, name)));
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The cells to kill: those of the tags and of the namespaces, each once.
    pub(crate) fn names(&self, call: &Call<'_>) -> Vec<Box<[u8]>> {
        let tags = self.tags.iter().map(|tag| name::cell(Covers::Tag, call.tenant(), tag));
        let namespaces = self.namespaces.iter().map(|name| name::cell(Covers::Namespace, call.tenant(), name));
        let mut names: Vec<Box<[u8]>> = tags.chain(namespaces).map(|name| name.as_slice().into()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Drops the keys, those named like tags included, and what matches the patterns; `spare` is somebody else's business.
    pub(crate) fn invalidate(&self, core: &Core, call: &Call<'_>, spare: &[Box<[u8]>]) {
        for key in self.keys.iter().chain(&self.tags) {
            let physical = physical_key(core, call, key);
            if !spare.contains(&physical) {
                core.drop_key(&physical);
            }
        }
        for pattern in &self.patterns {
            drop_matching(core, call.tenant(), pattern);
        }
    }
}

pub(crate) fn physical_key(core: &Core, call: &Call<'_>, logical: &[u8]) -> Box<[u8]> {
    let mut writer = core.writer(call.tenant(), 0);
    writer.lit(&String::from_utf8_lossy(logical));
    writer.as_bytes().into()
}

/// Drops all entries of a tenant (or of none) whose logical key matches; returns how many. Loads in flight are closed
/// first, so that none that began before can fill after.
pub(crate) fn drop_matching(core: &Core, tenant: Option<&Tenant>, pattern: &Pattern) -> u64 {
    let matches =
        |key: &[u8]| name::logical_of(&core.settings.prefix, tenant, key).is_some_and(|key| pattern.could_match(key));
    core.cells.note(name::ANY_PATTERN);
    core.flights.close_matching(matches);
    let mut found = Vec::new();
    core.each_store(|map| {
        map.for_each(&mut |key, _| {
            if matches(key) {
                found.push(Box::<[u8]>::from(key));
            }
        });
    });
    // Each under its key's lock, so that nothing that is being changed there survives.
    found.iter().map(|key| u64::from(core.drop_key(key))).sum()
}

opaque_debug!(WriteSink<'_, V>);
