//! The seam where a shared backend plugs in: commands on bytes by physical name. Object-safe; typed values and algorithms
//! live above. The memory store does not go through it: its values stay typed, and its leases are flights.
//!
//! One call of [`SharedStore::run`], or of its kin for reads, is one round trip (per shard), whatever it does: what a read or
//! a write costs can be read off the engine, and is counted in tests.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::clock::Nanos;
use crate::error::{Error, ErrorKind};
use crate::sabotage::{self, Mutation};

/// A boxed future of the seam.
pub(crate) type Answer<'s, T> = Pin<Box<dyn Future<Output = T> + Send + 's>>;

/// A physical name. Names carry prefix, version and tenant; see `engine::name`.
pub(crate) type Name = Arc<[u8]>;

/// Names in one buffer: what a look-up reads. A [`Name`] each would be an allocation each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    bytes: Vec<u8>,
    /// Where each of them ends.
    ends: SmallVec<[usize; 8]>,
}

impl Names {
    /// With room for so many bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ends: SmallVec::new() }
    }

    /// Adds the name that `write` appends to what it is given; says which it is.
    pub(crate) fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
        self.ends.len() - 1
    }

    /// Removes the last one.
    pub(crate) fn pop(&mut self) {
        self.ends.pop();
        self.bytes.truncate(self.ends.last().copied().unwrap_or_default());
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// How many bytes all have together.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The one that was added after so many others.
    pub(crate) fn get(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }
}

/// What is under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Without its stamp.
    pub(crate) bytes: Vec<u8>,
    /// Whether it was stamped by this server.
    pub(crate) stamped: bool,
}

impl Found {
    /// The value, if it was stamped by this server.
    pub(crate) fn own(&self) -> Option<&[u8]> {
        if !self.stamped && sabotage::is(Mutation::NoIdentity) {
            return Some(&self.bytes[..self.bytes.len().saturating_sub(size_of::<u64>())]);
        }
        self.stamped.then_some(&self.bytes)
    }
}

pub(crate) use crate::envelope::Nonce;

/// The nonce of a cell that is being written: nothing that is stored with it is ever valid.
pub(crate) const FENCED: Nonce = [0; 16];

/// What a marked cell or lease begins with. Nothing else that the cache stores does, and no JSON.
pub(crate) const MARK: &[u8] = b"\x01fence:";

/// The names of one entry. All three are in one slot of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntryName {
    /// What people read: `svc:v1:user:42`.
    pub(crate) entry: Name,
    /// Where the envelope is when the entry itself is to be plain JSON.
    pub(crate) side: Name,
    /// Who loads it. Also the channel on which those who wait for it are woken.
    pub(crate) lease: Name,
}

/// An entry as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// What decides whether the value may be served, followed by the value unless `plain` has it.
    pub(crate) envelope: Vec<u8>,
    /// The value alone. It lies under the entry's own name, and the envelope under its `side`.
    pub(crate) plain: Option<Vec<u8>>,
}

/// One command. Values that are *stamped* carry the identity of the server that accepted them: the backend adds it when it
/// writes, and what another server accepted reads as missing.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// A stamped value. [`Reply::Bytes`]
    Read(Name),
    /// A value as it is. [`Reply::Bytes`]
    ReadPlain(Name),
    /// A value, stamped or not. [`Reply::Any`]
    ReadAny(Name),
    /// The nonce of a cell, which becomes `fresh` where there is none (or one that another server accepted), and which
    /// lives for at least `ttl` from now (`None`: for ever). Of a marked cell, [`FENCED`]. Atomic. [`Reply::Nonce`]
    Ensure {
        /// The cell.
        cell: Name,
        /// Its content if it has none.
        fresh: Nonce,
        /// How long it lives at least.
        ttl: Option<Duration>,
    },
    /// Takes a lease unless somebody holds it who took it on this server; with `steal`, whoever holds it. Not where a writer
    /// has marked it.
    /// [`Reply::Flag`]: whether it is ours.
    Acquire {
        /// The lease.
        lease: Name,
        /// Who takes it.
        token: Nonce,
        /// How long it is held unless renewed.
        ttl: Duration,
        /// Whether it is taken from whoever holds it.
        steal: bool,
    },
    /// Extends a lease that is still ours. [`Reply::Flag`]: whether it is.
    Renew {
        /// The lease.
        lease: Name,
        /// Who holds it.
        token: Nonce,
        /// How long it is held from now.
        ttl: Duration,
    },
    /// Gives a lease back if it is still ours, and wakes those who wait for it in any case. [`Reply::Flag`]: whether it was.
    Release {
        /// The lease.
        lease: Name,
        /// Who holds it.
        token: Nonce,
    },
    /// Stores an entry if the lease is still ours, gives the lease back, and wakes those who wait. Atomic.
    /// [`Reply::Flag`]: whether it was stored.
    Fill {
        /// The entry.
        name: EntryName,
        /// Who holds its lease.
        token: Nonce,
        /// What it becomes.
        image: Image,
        /// How long it lives; `None`: for ever.
        ttl: Option<Duration>,
        /// Whether what is there is dropped where the lease is not ours any more.
        or_drop: bool,
    },
    /// Replaces or drops an entry, if the stamped value under a name is what the caller saw. Atomic. [`Reply::Flag`]:
    /// whether it was.
    Replace {
        /// The entry.
        name: EntryName,
        /// Which value must be where; `None`: no condition. No value at all: none beside the entry either.
        seen: Option<(Name, Option<Vec<u8>>)>,
        /// What must lie under the entry's own name as well; `None`: no condition. An envelope says nothing of a number.
        plain: Option<Vec<u8>>,
        /// What it becomes; `None`: it is dropped.
        image: Option<Image>,
        /// How long it lives.
        life: Life,
        /// Whether its lease is dropped, so that no load that runs may fill it.
        close: bool,
    },
    /// Adds to the number under an entry's own name, if its envelope (`side`) is what the caller saw. Atomic.
    /// [`Reply::Sum`]
    Count {
        /// The entry.
        name: EntryName,
        /// Its envelope.
        seen: Vec<u8>,
        /// How much.
        by: i64,
    },
    /// Replaces a cell's nonce if it is what the caller saw, else drops the cell unless it is marked. Atomic. [`Reply::Flag`]: whether it was.
    Swap {
        /// The cell.
        cell: Name,
        /// What it has to be.
        seen: Nonce,
        /// What it becomes.
        fresh: Nonce,
        /// How long it lives at least; `None`: for ever.
        ttl: Option<Duration>,
    },
    /// Marks a cell or a lease as being written: until the mark is removed, or this long from now, what depends on it is
    /// invalid, and nothing that is loaded becomes valid. Whatever was there is gone; marks of other writers stay.
    /// [`Reply::Flag`]: whether this writer's mark was there already.
    Mark {
        /// The cell or lease.
        name: Name,
        /// Who writes.
        writer: Nonce,
        /// How long the mark stays unless it is renewed by another one.
        ttl: Duration,
    },
    /// Removes a writer's mark. What it marked is missing then, unless others have marked it. [`Reply::Flag`]: whether it
    /// was there.
    Unmark {
        /// The cell or lease.
        name: Name,
        /// Who has written.
        writer: Nonce,
    },
    /// Makes a name live for at least this long from now (`None`: for ever). [`Reply::Flag`]: always true.
    Extend(Name, Option<Duration>),
    /// Makes a name live for exactly this long from now (`None`: for ever). [`Reply::Flag`]: whether it is there.
    Expire(Name, Option<Duration>),
    /// Drops names, in whatever slots they are; marks stay. [`Reply::Count`]: how many were there.
    Drop(Vec<Name>),
    /// How long a name still lives. [`Reply::Left`]
    Left(Name),
}

/// How long a replaced entry lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// This long from now.
    For(Duration),
    /// For ever.
    Forever,
    /// As long as what it replaces.
    Keep,
}

/// What became of an [`Op`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A value, if there is one.
    Bytes(Option<Vec<u8>>),
    /// A value without its stamp, if there is one, and whether it was stamped by this server.
    Any(Option<(Vec<u8>, bool)>),
    /// A cell's nonce.
    Nonce(Nonce),
    /// Yes or no.
    Flag(bool),
    /// How many.
    Count(u64),
    /// The new number; `None`: the envelope was another.
    Sum(Option<i64>),
    /// The time left; the outer `None`: not there, the inner one: for ever.
    Left(Option<Option<Duration>>),
}

/// What a reply should have been.
macro_rules! expect {
    ($($(#[$doc:meta])* $name:ident: $variant:ident -> $ty:ty;)*) => {
        impl Reply {
            $($(#[$doc])*
            pub(crate) fn $name(self) -> Result<$ty, Error> {
                match self {
                    Self::$variant(value) => Ok(value),
                    other => Err(Error::new(ErrorKind::Protocol, format!("a backend replied with {}", other.kind()))),
                }
            })*

            fn kind(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => stringify!($name),)*
                }
            }
        }
    };
}
expect! {
    /// A value.
    bytes: Bytes -> Option<Vec<u8>>;
    /// A value and whether it was stamped.
    any: Any -> Option<(Vec<u8>, bool)>;
    /// A nonce.
    nonce: Nonce -> Nonce;
    /// Yes or no.
    flag: Flag -> bool;
    /// How many.
    count: Count -> u64;
    /// A number.
    sum: Sum -> Option<i64>;
    /// The time left.
    left: Left -> Option<Option<Duration>>;
}

/// Where a scan stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Which server.
    pub(crate) shard: usize,
    /// Where on it.
    pub(crate) at: u64,
}

/// A part of what a scan finds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    /// Names, each at least once over a whole scan if it is there all the time.
    pub(crate) names: Vec<Vec<u8>>,
    /// Where to go on; `None`: that was all.
    pub(crate) next: Option<Cursor>,
}

/// What a load on a shared backend depends on, as it was before its body: while all of it is so, nothing was invalidated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SharedSnapshot {
    /// The entry's lease.
    pub(crate) lease: Name,
    /// Who holds it.
    pub(crate) holder: Option<Vec<u8>>,
    /// The cells.
    pub(crate) cells: Vec<(Name, Nonce)>,
}

/// What a server says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerInfo {
    /// `7.0.15`
    pub(crate) version: String,
    /// `standalone`, `cluster` or `sentinel`.
    pub(crate) mode: &'static str,
    /// Servers that hold entries.
    pub(crate) shards: u64,
    /// Keys of all users of these servers.
    pub(crate) keys: u64,
    /// Bytes that these servers use.
    pub(crate) used_memory: u64,
    /// Whether, and what, these servers evict: `allkeys-lru`.
    pub(crate) eviction_policy: String,
}

/// Whether a server is used: the state of the breaker in front of it.
///
/// ```
/// use cache_runtime::{Breaker, Cache};
///
/// let stats = Cache::memory().stats();
/// assert!(stats.servers.iter().all(|server| server.breaker == Breaker::Closed)); // there is none
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Breaker {
    /// It is used, or nobody has asked for it yet.
    #[default]
    Closed,
    /// It is being tried: calls wait for it, for a bounded time.
    HalfOpen,
    /// It is away, and calls fail at once until it was reached in the background.
    Open,
}

/// A server, as this process sees it. See [`CacheStats::servers`](crate::CacheStats::servers).
///
/// ```no_run
/// # async fn example() -> Result<(), cache_runtime::Error> {
/// use cache_runtime::{Breaker, Cache};
///
/// let cache = Cache::builder().url("redis://localhost:6379").build().await?;
/// for server in cache.stats().servers {
///     if server.breaker == Breaker::Open {
///         eprintln!("{} is away: {}", server.name, server.error.unwrap_or_default());
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerState {
    /// Host and port, path of a socket, or the name that sentinels know it by.
    pub name: String,
    /// Whether it is used.
    pub breaker: Breaker,
    /// Why it is not, where it is away.
    pub error: Option<String>,
}

/// Commands on bytes, shared by processes.
///
/// # Cancel safety
///
/// A future that is dropped may or may not have taken effect. Everything is such that a late effect does no harm: a fill
/// asks for its lease, an invalidation can be repeated.
pub(crate) trait SharedStore: Send + Sync + fmt::Debug {
    /// Runs all `ops` in one round trip to each server that they concern, in their order on each. One reply for each op,
    /// in the order of `ops`. Fails within a bounded time; at once while a server is known to be away.
    fn run(&self, ops: Vec<Op>) -> Answer<'_, Vec<Result<Reply, Error>>>;

    /// What is under these names, read in one round trip as [`Op::ReadAny`] reads: the look-up of almost every call.
    fn get<'s>(&'s self, names: &'s Names) -> Answer<'s, Result<Vec<Option<Found>>, Error>> {
        Box::pin(async move {
            let replies = self.run(names.iter().map(|name| Op::ReadAny(name.into())).collect()).await;
            let found = |(bytes, stamped)| Found { bytes, stamped };
            replies.into_iter().map(|reply| Ok(reply?.any()?.map(found))).collect()
        })
    }

    /// [`run`](Self::run) for reads of which later changes are told to the [`Watcher`]. The flag: whether they are, of all
    /// that was read. Without a watcher they are not.
    fn read(&self, ops: Vec<Op>) -> Answer<'_, (Vec<Result<Reply, Error>>, bool)> {
        Box::pin(async move { (self.run(ops).await, false) })
    }

    /// Has changes of what [`read`](Self::read) reads told from now on, by every server, each of which is asked every `pulse`
    /// whether it is there. Names that begin with `probe` are nobody's: whether changes are told is tried on them. Said once,
    /// before the first use.
    fn watch(&self, watcher: Arc<dyn Watcher>, probe: Name, pulse: Duration) {
        let _ = (watcher, probe, pulse);
    }

    /// Names that match a glob, page by page.
    fn scan<'s>(&'s self, glob: &'s [u8], from: Cursor) -> Answer<'s, Result<Page, Error>>;

    /// Listens for the end of a lease: what happens after this has returned is not missed while the connection lives.
    fn listen(&self, lease: &Name) -> Answer<'_, Result<Box<dyn Listener>, Error>>;

    /// Whether one server holds everything, so that what one op does is atomic over all names.
    fn is_single(&self) -> bool;

    /// Waits for the first connection to each server that is needed.
    fn ready(&self) -> Answer<'_, Result<(), Error>>;

    /// Whether every server answers.
    fn ping(&self) -> Answer<'_, Result<(), Error>>;

    /// What the servers say about themselves.
    fn info(&self) -> Answer<'_, Result<ServerInfo, Error>>;

    /// Whether each server that is known by now is used. Asks none of them.
    fn servers(&self) -> Vec<ServerState> {
        Vec::new()
    }

    /// Lets go of all connections. What is called afterwards fails with `Closed`.
    fn close(&self) -> Answer<'_, ()>;
}

/// Hears what becomes of names that were read by [`SharedStore::read`]. None of this waits.
pub(crate) trait Watcher: Send + Sync + fmt::Debug {
    /// What is under this name was changed, dropped, evicted, or expired.
    fn changed(&self, name: &[u8]);

    /// Whatever was read on this server before may have changed unheard.
    fn missed(&self, server: u64);

    /// Every change that this server made before `heard` was told, on [`alive_now`](crate::clock::alive_now)'s clock.
    fn heard(&self, server: u64, heard: Nanos);

    /// Nothing that is read on this server is watched any more. It may come back.
    fn lost(&self, server: u64);

    /// This server holds no entries any more.
    fn left(&self, server: u64);
}

/// A wait for the end of a lease. Dropping it ends it.
pub(crate) trait Listener: Send {
    /// Returns when the lease was given back, or when that may have been missed.
    fn woken(&mut self) -> Answer<'_, ()>;
}

const _: fn(&dyn SharedStore, &dyn Listener) = |_, _| {};
