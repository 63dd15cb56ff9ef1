//! Memory in front of a shared backend (L1): what makes copies of its entries invalid, and until when they may be served.
//!
//! A copy holds a cell for every name that it was read from: the entry's own, those of the cells it depends on, and one
//! for the link to the servers. They are acquired *before* the read is sent, which is the pending mark: a push that overtakes
//! the answer kills them, and what is then made of the answer is dead on arrival. So nothing has to be removed from the map.
//!
//! Pushes can be lost without a word, on a link that is half open. So copies are served under a *lease*: only while the last
//! question that every server answered, on the connection that its pushes come on, was sent less than δ ago. A server pushes
//! before it answers, so whatever changed before that question is known here. (Gray and Cheriton, "Leases", SOSP 1989;
//! Redis' own documentation of `CLIENT TRACKING` asks for such a ping.)
//!
//! What this process changes itself is known here as soon as the server has done it, not only when the push arrives: see
//! [`Coherent`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::cell::CellSet;
use crate::clock::{Nanos, after, alive_now};
use crate::error::Error;
use crate::sabotage::{self, Mutation};
use crate::store::{
    Answer, Cursor, Found, Listener, Name, Names, Op, Page, Reply, ServerInfo, ServerState, SharedStore, Watcher,
};
use crate::sync::{AtomicU64, Ordering};
use crate::tags::Cells;

/// What decides whether copies in memory may be served.
pub(crate) struct L1 {
    cells: Arc<Cells>,
    /// δ: for how long after a question an answer is good.
    span: Duration,
    /// Until when copies may be served: the least of all servers.
    until: AtomicU64,
    servers: Mutex<BTreeMap<u64, Nanos>>,
}

impl fmt::Debug for L1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("L1").field("serves", &self.serves(alive_now())).finish_non_exhaustive()
    }
}

/// The cell that stands for the link to the servers: killed whenever changes may have been missed.
const LINK: &[u8] = b"\x01";

/// The cell of a name. No other cell of a cache begins with this byte.
fn cell(name: &[u8]) -> SmallVec<[u8; 128]> {
    let mut cell = SmallVec::from_slice(LINK);
    cell.extend_from_slice(name);
    cell
}

impl L1 {
    pub(crate) fn new(cells: Arc<Cells>, span: Duration) -> Arc<Self> {
        Arc::new(Self { cells, span, until: AtomicU64::new(0), servers: Mutex::default() })
    }

    /// Whether copies may be served at this time of [`alive_now`].
    #[inline]
    pub(crate) fn serves(&self, now: Nanos) -> bool {
        now < self.until.load(Ordering::Acquire) || sabotage::is(Mutation::NoLease)
    }

    /// For how much longer copies may be served if no server is heard of.
    pub(crate) fn lease_left(&self, now: Nanos) -> Duration {
        Duration::from_nanos(self.until.load(Ordering::Acquire).saturating_sub(now))
    }

    /// What a copy depends on that is read from these names. To be called before the read is sent.
    pub(crate) fn pending<'n>(&self, names: impl IntoIterator<Item = &'n Name>) -> CellSet {
        let mut cells = CellSet::default();
        cells.push(self.cells.acquire(LINK));
        self.add_pending(names, &mut cells);
        cells
    }

    /// Adds what a copy depends on besides. To be called before those names are read.
    pub(crate) fn add_pending<'n>(&self, names: impl IntoIterator<Item = &'n Name>, into: &mut CellSet) {
        for name in names {
            into.push(self.cells.acquire(&cell(name)));
        }
    }

    /// Makes all copies invalid, and what is being read.
    pub(crate) fn forget(&self) {
        if sabotage::is(Mutation::NoFlush) {
            return;
        }
        self.cells.invalidate(LINK);
    }

    fn set(&self, change: impl FnOnce(&mut BTreeMap<u64, Nanos>)) {
        let mut servers = self.servers.lock();
        change(&mut servers);
        self.until.store(servers.values().copied().min().unwrap_or(0), Ordering::Release);
    }
}

impl Watcher for L1 {
    fn changed(&self, name: &[u8]) {
        self.cells.invalidate(&cell(name));
    }

    fn missed(&self, _server: u64) {
        self.forget();
    }

    fn heard(&self, server: u64, heard: Nanos) {
        let until = after(heard, self.span);
        self.set(|servers| {
            servers.insert(server, until);
        });
    }

    fn lost(&self, server: u64) {
        // A server that was never heard of keeps nobody from serving: nothing was read from it.
        self.set(|servers| servers.get_mut(&server).into_iter().for_each(|until| *until = 0));
        self.forget();
    }

    fn left(&self, server: u64) {
        self.forget();
        self.set(|servers| {
            servers.remove(&server);
        });
    }
}

/// A shared backend whose changes by this process are known to its own [`L1`] before anybody is told that they are done.
pub(crate) struct Coherent {
    store: Arc<dyn SharedStore>,
    l1: Arc<L1>,
}

impl Coherent {
    /// Has `l1` told of what others change. See [`SharedStore::watch`].
    pub(crate) fn new(store: Arc<dyn SharedStore>, l1: Arc<L1>, probe: Name, pulse: Duration) -> Arc<Self> {
        store.watch(Arc::clone(&l1) as Arc<dyn Watcher>, probe, pulse);
        Arc::new(Self { store, l1 })
    }
}

impl fmt::Debug for Coherent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coherent").field("store", &self.store).field("l1", &self.l1).finish()
    }
}

/// Names that a command may have changed. Dropped when it has been answered, or was given up.
struct Changing<'a> {
    l1: &'a L1,
    names: SmallVec<[Name; 8]>,
}

impl<'a> Changing<'a> {
    fn of(l1: &'a L1, ops: &[Op]) -> Self {
        let mut names = SmallVec::new();
        for op in ops {
            match op {
                Op::Drop(all) => names.extend(all.iter().cloned()),
                Op::Fill { name, .. } | Op::Replace { name, .. } | Op::Count { name, .. } => {
                    names.extend([Arc::clone(&name.entry), Arc::clone(&name.side)]);
                }
                Op::Swap { cell: name, .. } | Op::Mark { name, .. } | Op::Unmark { name, .. } | Op::Expire(name, _) => {
                    names.push(Arc::clone(name))
                }
                // A cell that `Ensure` makes was missing, and what depended on it is dead.
                Op::Read(_) | Op::ReadPlain(_) | Op::ReadAny(_) | Op::Left(_) | Op::Ensure { .. } => {}
                // Leases are in no copy; a longer life changes no value.
                Op::Acquire { .. } | Op::Renew { .. } | Op::Release { .. } | Op::Extend(..) => {}
            }
        }
        Self { l1, names }
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        if !sabotage::is(Mutation::OwnUntold) {
            self.names.iter().for_each(|name| self.l1.changed(name));
        }
    }
}

impl SharedStore for Coherent {
    fn run(&self, ops: Vec<Op>) -> Answer<'_, Vec<Result<Reply, Error>>> {
        Box::pin(async move {
            let _changing = Changing::of(&self.l1, &ops);
            self.store.run(ops).await
        })
    }

    fn get<'s>(&'s self, names: &'s Names) -> Answer<'s, Result<Vec<Option<Found>>, Error>> {
        self.store.get(names)
    }

    fn read(&self, ops: Vec<Op>) -> Answer<'_, (Vec<Result<Reply, Error>>, bool)> {
        self.store.read(ops)
    }

    fn scan<'s>(&'s self, glob: &'s [u8], from: Cursor) -> Answer<'s, Result<Page, Error>> {
        self.store.scan(glob, from)
    }

    fn listen(&self, lease: &Name) -> Answer<'_, Result<Box<dyn Listener>, Error>> {
        self.store.listen(lease)
    }

    fn is_single(&self) -> bool {
        self.store.is_single()
    }

    fn ready(&self) -> Answer<'_, Result<(), Error>> {
        self.store.ready()
    }

    fn ping(&self) -> Answer<'_, Result<(), Error>> {
        self.store.ping()
    }

    fn info(&self) -> Answer<'_, Result<ServerInfo, Error>> {
        self.store.info()
    }

    fn servers(&self) -> Vec<ServerState> {
        self.store.servers()
    }

    fn close(&self) -> Answer<'_, ()> {
        self.store.close()
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_nanos(100);

    fn l1() -> Arc<L1> {
        L1::new(Arc::new(Cells::new()), SPAN)
    }

    fn name(text: &str) -> Name {
        Name::from(text.as_bytes())
    }

    /// N5
    #[test]
    fn copies_are_served_until_the_first_of_the_servers_is_silent_for_too_long() {
        let l1 = l1();
        assert!(!l1.serves(0), "nobody has been heard of");
        l1.heard(1, 1_000);
        assert!(l1.serves(1_099) && !l1.serves(1_100));
        l1.heard(2, 1_050);
        assert!(!l1.serves(1_100), "the first one is silent");
        l1.heard(1, 1_200);
        assert!(l1.serves(1_149) && !l1.serves(1_150), "the second one is silent");
        l1.left(2);
        assert!(l1.serves(1_299));
        l1.lost(1);
        assert!(!l1.serves(1_201));
        l1.heard(1, 1_300);
        assert!(l1.serves(1_399));
    }

    #[test]
    fn a_server_that_was_never_heard_of_is_not_waited_for() {
        let l1 = l1();
        l1.heard(1, 1_000);
        l1.lost(2);
        assert!(l1.serves(1_050));
    }

    /// N5
    #[test]
    fn a_push_that_overtakes_the_answer_makes_what_was_read_invalid() {
        let l1 = l1();
        let (entry, tag, other) = (name("p:v:user:1"), name("p:v:%+tag:a"), name("p:v:user:2"));
        let one = l1.pending([&entry, &tag]);
        let two = l1.pending([&other, &tag]);
        l1.changed(&entry);
        assert!(!one.is_live());
        assert!(two.is_live());
        l1.changed(&tag);
        assert!(!two.is_live());
        assert!(l1.pending([&entry, &tag]).is_live(), "what is read from now on is as it is now");
    }

    #[test]
    fn what_may_have_been_missed_makes_everything_invalid() {
        for miss in [|l1: &L1| l1.missed(1), |l1: &L1| l1.lost(1), |l1: &L1| l1.left(1), L1::forget] {
            let l1 = l1();
            let before = l1.pending([&name("a")]);
            miss(&l1);
            assert!(!before.is_live());
            assert!(l1.pending([&name("a")]).is_live());
        }
    }

    #[test]
    fn what_this_process_changes_is_known_at_the_end_of_the_command_however_it_ends() {
        let l1 = l1();
        let names = crate::store::EntryName { entry: name("e"), side: name("s"), lease: name("l") };
        let nonce = crate::store::Nonce::default();
        let image = crate::store::Image { envelope: Vec::new(), plain: None };
        let changes = [
            (Op::Drop(vec![name("e")]), "e"),
            (Op::Fill { name: names.clone(), token: nonce, image, ttl: None, or_drop: false }, "e"),
            (Op::Count { name: names.clone(), seen: Vec::new(), by: 1 }, "s"),
            (Op::Swap { cell: name("c"), seen: nonce, fresh: nonce, ttl: None }, "c"),
            (Op::Expire(name("e"), None), "e"),
        ];
        for (op, changed) in changes {
            let copy = l1.pending([&name(changed)]);
            let changing = Changing::of(&l1, std::slice::from_ref(&op));
            assert!(copy.is_live(), "not before the server has done it: {op:?}");
            drop(changing);
            assert!(!copy.is_live(), "{op:?}");
        }
    }
}
