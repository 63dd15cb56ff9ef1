//! The end of a load on a shared backend: the entry is stored if its lease is still held, with the nonces from before the
//! load. One round trip, for one entry or for the elements of a batch.

use std::sync::Arc;
use std::time::Duration;

use super::grant::Grant;
use super::{CELL_TTL, Shared};
use crate::clock::{FOREVER, Nanos, wall_ms};
use crate::engine::call::Call;
use crate::engine::core::Core;
use crate::engine::name::Covers;
use crate::engine::sink::Texts;
use crate::envelope::{Head, Outcome};
use crate::error::{Error, ErrorKind};
use crate::policy::{Ages, Jitter, Lifetime};
use crate::report;
use crate::sabotage::{self, Mutation};
use crate::shape::Handling;
use crate::store::{Image, Life, Name, Nonce, Op};

/// What a load came to.
pub(crate) struct Ending<'e, V: 'static, E> {
    /// `Some`: a value; `None`: an absent one; or the function's error.
    pub(crate) value: Result<Option<&'e V>, &'e E>,
    pub(crate) life: Option<Lifetime>,
    pub(crate) cost: Nanos,
    pub(crate) template: u64,
    /// Whether it is to be stored.
    pub(crate) wanted: bool,
    /// For how long it is of use after its life, where the value says it.
    pub(crate) ages: Option<Ages>,
    /// Tags that only the value tells.
    pub(crate) late: Texts,
    pub(crate) handling: &'static Handling<V>,
    /// `None`: errors of this type are not kept on a shared backend.
    pub(crate) errors: Option<Handling<E>>,
}

/// What is to be sent for one ending.
#[derive(Debug)]
pub(crate) struct Fill {
    ops: Vec<Op>,
    grant: Grant,
    /// Whether the first op stores the entry.
    stores: bool,
    /// Whether all tags were known before the load, so that those who joined it late may have its value.
    pub(crate) complete: bool,
}

impl Call<'_> {
    /// What is to be sent for one ending.
    pub(crate) fn fill<V, E>(&self, core: &Core, grant: Grant, ending: Ending<'_, V, E>) -> Fill {
        let shared = Arc::clone(&grant.shared);
        let counters = &core.function(self.site).counters;
        let (late, unknown) = late_cells(&shared, self, &grant, &ending.late);
        let mut fill = Fill { ops: Vec::new(), stores: false, complete: unknown.is_empty(), grant };
        let Some(hold) = &fill.grant.hold else { return fill };
        let give_back = hold.release();
        let life = ending.life.unwrap_or(self.site.options.life);
        let lifetime = lifetime(core, life, self.site.options.jitter);
        let (true, Some(ttl)) = (ending.wanted, lifetime) else {
            if ending.value.is_ok() {
                counters.unstored.increment();
                if fill.grant.refresh || self.site.options.ages.is_set() {
                    // The source has answered: what was there is not its answer.
                    let name = &fill.grant.want.name;
                    fill.ops.push(Op::Drop(vec![Arc::clone(&name.entry), Arc::clone(&name.side)]));
                }
            }
            fill.ops.push(give_back);
            return fill;
        };
        let mut cells: Vec<(Name, Nonce)> = Vec::new();
        for name in fill.grant.want.required.iter().chain(&late) {
            if let Some(cell) = fill.grant.cells.iter().find(|(known, _)| known == name)
                && !cells.contains(cell)
            {
                cells.push(cell.clone());
            }
        }
        let outcome = match (unknown.is_empty(), ending.value) {
            // Their cells were not read before the load. The next one reads them, since it finds their names.
            (false, _) => {
                cells = unknown.into_iter().chain(late).map(|name| (name, Nonce::default())).collect();
                counters.unstored.increment();
                Outcome::Hint
            }
            (true, Ok(Some(_))) => Outcome::Some,
            (true, Ok(None)) => Outcome::None,
            (true, Err(_)) => Outcome::Err,
        };
        let late: Vec<Name> = cells
            .iter()
            .filter(|(name, _)| !fill.grant.want.required.contains(name))
            .map(|(name, _)| Arc::clone(name))
            .collect();
        shared.notes.learn(&fill.grant.want.name.entry, &late);
        let created_ms = wall_ms();
        let (expires_ms, ttl) = match outcome {
            Outcome::Some | Outcome::None => {
                aged(ending.ages.as_ref().unwrap_or(&self.site.options.ages), created_ms, ttl)
            }
            Outcome::Err | Outcome::Hint => (0, ttl),
        };
        let head = Head {
            outcome,
            template: ending.template,
            created_ms,
            expires_ms,
            cost_us: ending.cost / 1_000,
            cells: cells.iter().map(|(name, nonce)| (std::borrow::Cow::Borrowed(&**name), *nonce)).collect(),
        };
        let wire = shared.wire(self.site, &fill.grant.want.name.entry);
        let image = match (outcome, ending.value, ending.errors) {
            (Outcome::Err, Err(error), Some(errors)) => (errors.pack)(&wire, &head, Some(error)),
            (Outcome::Err, ..) => Err(Error::new(
                ErrorKind::Unsupported,
                "`ttl_err` on a shared backend needs an error that is `Serialize + DeserializeOwned`",
            )),
            (Outcome::Some, Ok(value), _) => (ending.handling.pack)(&wire, &head, value),
            _ => (ending.handling.pack)(&wire, &head, None),
        };
        let image = match image {
            Ok(image) => image,
            Err(error) => {
                counters.unstored.increment();
                let function = self.site.name;
                let cause =
                    if outcome == Outcome::Err { "an error cannot be kept" } else { "a value cannot be stored" };
                report::warn(cause, &format_args!("`{function}`: {error}"));
                fill.ops.push(give_back);
                return fill;
            }
        };
        fill.stores = true;
        shared.notes.renew(&fill.grant.want.name.entry);
        fill.ops.push(store(&fill.grant, image, ttl));
        if outcome != Outcome::Hint {
            fill.ops.extend(extended(&cells, ttl, ending.cost));
        }
        fill
    }

    /// Sends what is to be sent: one round trip for all.
    pub(crate) async fn send_fills(&self, core: &Core, fills: Vec<Fill>) {
        let Some(shared) = fills.first().map(|fill| Arc::clone(&fill.grant.shared)) else { return };
        let counters = &core.function(self.site).counters;
        let mut ops = Vec::new();
        let mut ends: Vec<(Grant, Option<usize>, usize)> = Vec::new();
        for fill in fills {
            let first = fill.stores.then_some(ops.len());
            ops.extend(fill.ops);
            ends.push((fill.grant, first, ops.len()));
        }
        if ops.is_empty() {
            return;
        }
        let replies = shared.store.run(ops).await;
        let mut from = 0;
        for (mut grant, stored, to) in ends {
            let failed = replies.get(from..to).unwrap_or_default().iter().find_map(|reply| reply.as_ref().err());
            from = to;
            match (failed, stored.and_then(|index| replies.get(index))) {
                // What may still be held is given back by the grant.
                (Some(error), _) => self.failed(error),
                (None, stored) => {
                    grant.hold.iter_mut().for_each(super::grant::Hold::disarm);
                    if matches!(stored, Some(Ok(crate::store::Reply::Flag(false)))) {
                        counters.refused.increment();
                    }
                }
            }
        }
    }
}

/// The names of the cells of late tags, and of those among them that were not read before the load.
fn late_cells(shared: &Shared, call: &Call<'_>, grant: &Grant, late: &Texts) -> (Vec<Name>, Vec<Name>) {
    let names = late.iter().map(|tag| shared.cell(Covers::Tag, call.tenant(), tag));
    names.partition(|name| grant.cells.iter().any(|(known, _)| known == name))
}

fn store(grant: &Grant, image: Image, ttl: Option<Duration>) -> Op {
    if sabotage::is(Mutation::FillWithoutLease) {
        let life = ttl.map_or(Life::Forever, Life::For);
        return Op::Replace {
            name: grant.want.name.clone(),
            seen: None,
            plain: None,
            image: Some(image),
            life,
            close: false,
        };
    }
    let token = grant.hold.as_ref().map_or_else(Nonce::default, |hold| hold.token);
    Op::Fill { name: grant.want.name.clone(), token, image, ttl, or_drop: grant.refresh }
}

/// How long an entry lives; `None`: it is not stored, `Some(None)`: for ever.
pub(super) fn lifetime(core: &Core, life: Lifetime, jitter: Jitter) -> Option<Option<Duration>> {
    let now = core.now();
    core.expiry(now, life, jitter).map(|at| (at != FOREVER).then(|| Duration::from_nanos(at.saturating_sub(now))))
}

/// When a value of this life expires, for those who serve old values, and how long its entry lives: for as long as it is of
/// use. 0: nobody serves it after its life.
pub(super) fn aged(ages: &Ages, created_ms: u64, ttl: Option<Duration>) -> (u64, Option<Duration>) {
    match ttl {
        Some(ttl) if ages.is_set() => {
            let expires_ms = created_ms.saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
            (expires_ms, Some(ttl.saturating_add(ages.window())))
        }
        ttl => (0, ttl),
    }
}

/// Makes cells live for as long as an entry of this life. They were made for longer than most entries live.
pub(super) fn extended(cells: &[(Name, Nonce)], ttl: Option<Duration>, since: Nanos) -> Vec<Op> {
    let enough = ttl.is_some_and(|ttl| ttl + Duration::from_nanos(since) + Duration::from_secs(60) < CELL_TTL);
    if enough { Vec::new() } else { cells.iter().map(|(cell, _)| Op::Extend(Arc::clone(cell), ttl)).collect() }
}
