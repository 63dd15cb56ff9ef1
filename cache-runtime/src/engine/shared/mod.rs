//! The algorithm on a shared backend: one look-up reads an entry with its cells; a miss takes the lease and the cells in one
//! more round trip; a fill asks for the lease. `DESIGN` calls it the protocol; `docs/guide/redis.md` lists its keys.
//!
//! | file | what |
//! |---|---|
//! | `names` | physical names |
//! | `look` | reading entries with their cells, and judging them |
//! | `glance` | the same for what almost every call is: a hit |
//! | `near` | copies in memory of what was read |
//! | `read` | a call that missed: join, lead, wait for a lease |
//! | `grant` | the right to fill an entry: lease, nonces, renewal |
//! | `fill` | a load's end |
//! | `write` | invalidation and write-through |
//! | `fence` | marks of what is being written |
//! | `direct` | what `Cache`'s own methods do |

mod batch;
pub(crate) mod direct;
pub(crate) mod fence;
pub(crate) mod fill;
mod glance;
mod grant;
pub(super) mod look;
pub(crate) mod names;
mod near;
mod notes;
pub(super) mod read;
#[cfg(feature = "sabotage")]
mod sabotaged;
pub(crate) mod write;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::background::Background;
use crate::codec::{Codec, Keyring, Wire};
use crate::engine::call::Call;
use crate::engine::core::Settings;
use crate::engine::direct::DIRECT;
use crate::engine::name::Covers;
use crate::engine::read::Mode;
use crate::error::{Error, ErrorKind};
use crate::hybrid::{Coherent, L1};
use crate::meter::name;
use crate::outbox::Outbox;
use crate::report;
use crate::site::{Site, SiteKind};
use crate::stats::Counter;
use crate::store::{Name, Nonce, Op, SharedStore};
use crate::tenant::Tenant;

pub(crate) use grant::{Grant, renewing};

/// How long a cell lives that an entry with a shorter life made: it costs little, and a write that finds none has nothing to
/// tell apart.
pub(super) const CELL_TTL: Duration = Duration::from_secs(3600);

/// A shared backend with what one cache decided about it.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn SharedStore>,
    pub(crate) outbox: Arc<Outbox>,
    /// What decides whether copies in memory may be served; `None`: this process has none.
    pub(crate) l1: Option<Arc<L1>>,
    /// δ: how long a copy in the memory of any process may be served unheard of.
    lease: Duration,
    background: Arc<Background>,
    /// `svc:v1:`
    pub(super) prefix: Box<[u8]>,
    pub(super) namespace: Option<Box<[u8]>>,
    bytes: Bytes,
    pub(super) notes: notes::Notes,
}

/// How values become bytes where a function does not say.
#[derive(Debug, Default)]
pub(crate) struct Bytes {
    pub(crate) codec: Codec,
    pub(crate) compress_above: Option<u64>,
    pub(crate) encrypt: bool,
    pub(crate) keys: Keyring,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("store", &self.store).field("outbox", &self.outbox).finish_non_exhaustive()
    }
}

impl Shared {
    /// `l1`: what decides whether copies in memory may be served, and how often each server is asked whether it is there.
    pub(crate) fn new(
        store: Arc<dyn SharedStore>,
        l1: Option<(Arc<L1>, Duration)>,
        lease: Duration,
        background: Arc<Background>,
        settings: &Settings,
        bytes: Bytes,
    ) -> Arc<Self> {
        let prefix = &settings.prefix;
        let (store, l1) = match l1 {
            Some((l1, ping)) => {
                let coherent = Coherent::new(store, Arc::clone(&l1), names::probe(prefix), ping);
                (coherent as Arc<dyn SharedStore>, Some(l1))
            }
            None => (store, None),
        };
        let everything = [Covers::All, Covers::Any].map(|covers| names::cell(prefix, covers, None, b""));
        let undelivered = Counter::telling(settings.meter.counter(name::UNDELIVERED_TOTAL, None));
        Arc::new(Self {
            outbox: Arc::new(Outbox::new(Arc::clone(&store), everything, l1.clone(), undelivered)),
            store,
            l1,
            lease,
            background,
            prefix: prefix.clone(),
            namespace: settings.namespace.as_deref().map(|name| name.as_bytes().into()),
            bytes,
            notes: notes::Notes::default(),
        })
    }

    /// δ: how long a copy in the memory of any process may be served unheard of.
    pub(crate) fn lease(&self) -> Duration {
        self.lease
    }

    /// The way in which a function's values become bytes under a name.
    pub(super) fn wire<'w>(&'w self, site: &Site, name: &'w [u8]) -> Wire<'w> {
        let options = &site.options;
        Wire {
            codec: options.codec.unwrap_or(self.bytes.codec),
            compress_above: options.compress_above.or(self.bytes.compress_above),
            encrypt: options.encrypt || self.bytes.encrypt,
            keys: &self.bytes.keys,
            name,
        }
    }

    /// The name of a cell.
    pub(crate) fn cell(&self, covers: Covers, tenant: Option<&Tenant>, text: &[u8]) -> Name {
        names::cell(&self.prefix, covers, tenant, text)
    }

    /// The cells that every entry of a function depends on, tags aside.
    pub(super) fn implicit_cells(&self, tenant: Option<&Tenant>, site: &Site, namespace: Option<&[u8]>) -> Vec<Name> {
        let mut cells = vec![self.cell(Covers::All, None, b"")];
        cells.extend(self.function_cell(tenant, site));
        if tenant.is_some() {
            cells.push(self.cell(Covers::Tenant, tenant, b""));
        }
        if let Some(namespace) = namespace.or(self.namespace.as_deref()) {
            cells.push(self.cell(Covers::Namespace, tenant, namespace));
        }
        cells
    }

    /// The cell of a function's entries. What is stored by key, by a write or a direct call, is no function's.
    pub(super) fn function_cell(&self, tenant: Option<&Tenant>, site: &Site) -> Option<Name> {
        is_function(site).then(|| self.cell(Covers::Function, tenant, site.cell_text().as_bytes()))
    }

    /// Whether what the store says may be believed: no invalidation of this process waits to be delivered.
    pub(super) fn is_trusted(&self) -> bool {
        let trusted = self.outbox.is_empty();
        if !trusted {
            self.outbox.kick();
        }
        trusted
    }

    /// For who looks again on behalf of a flight, right after he said so: whoever joined before may have begun after a write
    /// whose invalidation waits to be delivered, and what the store says is too old for him.
    ///
    /// # Errors
    ///
    /// One waits. A refresh asks for nothing that is there.
    pub(super) fn still_trusted(&self, mode: Mode) -> Result<(), Error> {
        if mode == Mode::Refresh || self.is_trusted() { Ok(()) } else { Err(write::undelivered()) }
    }

    /// Runs `work` when nobody waits for it. Where there is no runtime, what it would give back expires by itself.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let _ = self.background.spawn(work);
    }
}

impl Shared {
    /// Extends lives in the background, in one command: nobody waits for it.
    fn slide(&self, ops: Vec<Op>) {
        if ops.is_empty() {
            return;
        }
        let store = Arc::clone(&self.store);
        self.spawn(async move {
            let _ = store.run(ops).await;
        });
    }
}

/// Whether a site's entries are a function's own.
fn is_function(site: &Site) -> bool {
    site.kind == SiteKind::Read && !std::ptr::eq(site, &raw const DIRECT)
}

/// A backend that gave fewer replies than there were commands.
pub(super) fn no_reply<T>() -> Result<T, Error> {
    Err(Error::new(ErrorKind::Protocol, "a backend gave fewer replies than there were commands"))
}

/// Sixteen bytes that nobody can guess.
pub(super) fn nonce() -> Nonce {
    rand::random()
}

impl Call<'_> {
    /// The shared backend, where this call's entries are on one: memoized values stay in this process.
    pub(crate) fn shared(&self) -> Option<&Arc<Shared>> {
        if self.site.kind == SiteKind::Memoize { None } else { self.core()?.shared.as_ref() }
    }

    /// The shared backend that has to hear of an invalidation.
    pub(crate) fn reachable_shared(&self) -> Option<&Arc<Shared>> {
        self.reachable()?.shared.as_ref()
    }

    /// Counts a call, or its fill, that the backend failed, and says so once per cause and interval.
    pub(super) fn failed(&self, error: &Error) {
        if let Some(function) = self.function() {
            function.counters.degraded.count(Some(error.kind()));
        }
        // One that is away must not keep it unsaid that another one is full.
        let cause = match error.kind() {
            ErrorKind::Unavailable => "the shared backend is away",
            ErrorKind::Denied => "the shared backend denies what the cache needs",
            ErrorKind::ReadOnly => "the shared backend takes no writes",
            ErrorKind::Full => "the shared backend is full",
            _ => "the shared backend fails",
        };
        let function = self.site.name;
        report::warn(cause, &format_args!("`{function}`: {error}"));
    }

    /// Counts a call that the backend failed. It goes on without it, unless the function is to fail then.
    pub(crate) fn failing(&self, error: Error) -> Result<(), Error> {
        self.failed(&error);
        if self.site.options.on_error_fail { Err(error) } else { Ok(()) }
    }
}
