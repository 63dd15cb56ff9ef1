//! The same look-ups with other crates, each used the quickest way its documents show.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use cached::macros::{cached, concurrent_cached};
use foldhash::fast::RandomState;
use quick_cache::{DefaultHashBuilder, Equivalent, UnitWeighter};

use crate::data::{self, CAPACITY, User};
use crate::key::StackKey;

const HOUR: Duration = Duration::from_secs(3600);

/// A key as the maps keep it.
#[derive(PartialEq, Eq, Clone)]
pub(crate) struct Owned(Box<[u8]>);

impl Hash for Owned {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

/// A key as it is looked up.
struct Borrowed<'k>(&'k [u8]);

impl Hash for Borrowed<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.0);
    }
}

impl Equivalent<Owned> for Borrowed<'_> {
    fn equivalent(&self, key: &Owned) -> bool {
        *key.0 == *self.0
    }
}

type Quick<V> = quick_cache::sync::Cache<Owned, V, UnitWeighter, RandomState>;

fn quick_of<V: Clone>() -> Quick<V> {
    Quick::with(
        CAPACITY,
        CAPACITY as u64,
        UnitWeighter,
        RandomState::default(),
        quick_cache::sync::DefaultLifecycle::default(),
    )
}

static QUICK: LazyLock<Quick<Arc<User>>> = LazyLock::new(quick_of);
static QUICK_BY_VALUE: LazyLock<Quick<User>> = LazyLock::new(quick_of);

pub(crate) async fn quick(id: u64) -> Arc<User> {
    let key = StackKey::of(id);
    match QUICK.get(&Borrowed(key.as_bytes())) {
        Some(user) => user,
        None => fill(&QUICK, &key, Arc::new(data::load(id))),
    }
}

pub(crate) async fn quick_by_value(id: u64) -> User {
    let key = StackKey::of(id);
    match QUICK_BY_VALUE.get(&Borrowed(key.as_bytes())) {
        Some(user) => user,
        None => fill(&QUICK_BY_VALUE, &key, data::load(id)),
    }
}

/// The same value behind a pointer, and cloned by whoever asks: as far from the map as ours is.
pub(crate) async fn quick_behind_arc(id: u64) -> User {
    User::clone(&*quick(id).await)
}

#[cold]
fn fill<V: Clone>(cache: &Quick<V>, key: &StackKey, value: V) -> V {
    cache.insert(Owned(key.as_bytes().into()), value.clone());
    value
}

type Moka = moka::sync::Cache<Box<[u8]>, Arc<User>, RandomState>;

static MOKA: LazyLock<Moka> = LazyLock::new(|| {
    moka::sync::Cache::builder().max_capacity(CAPACITY as u64).build_with_hasher(RandomState::default())
});
static MOKA_TTL: LazyLock<Moka> = LazyLock::new(|| {
    let builder = moka::sync::Cache::builder().max_capacity(CAPACITY as u64).time_to_live(HOUR);
    builder.build_with_hasher(RandomState::default())
});

async fn moka_in(cache: &Moka, id: u64) -> Arc<User> {
    let key = StackKey::of(id);
    cache.get(key.as_bytes()).unwrap_or_else(|| {
        let user = Arc::new(data::load(id));
        cache.insert(key.as_bytes().into(), Arc::clone(&user));
        user
    })
}

pub(crate) async fn moka(id: u64) -> Arc<User> {
    moka_in(&MOKA, id).await
}

pub(crate) async fn moka_ttl(id: u64) -> Arc<User> {
    moka_in(&MOKA_TTL, id).await
}

/// Not a cache: a map without bound, expiry or recency, whose reads write nothing that is shared. The floor for threads.
static PAPAYA: LazyLock<papaya::HashMap<Box<[u8]>, Arc<User>, RandomState>> =
    LazyLock::new(|| papaya::HashMap::with_capacity_and_hasher(CAPACITY, RandomState::default()));

pub(crate) async fn papaya(id: u64) -> Arc<User> {
    let key = StackKey::of(id);
    let map = PAPAYA.pin();
    match map.get(key.as_bytes()) {
        Some(user) => Arc::clone(user),
        None => {
            let user = Arc::new(data::load(id));
            map.insert(key.as_bytes().into(), Arc::clone(&user));
            user
        }
    }
}

#[concurrent_cached(max_size = 20_000, ttl_secs = 3600)]
pub(crate) fn cached_number(id: u64) -> Arc<User> {
    Arc::new(data::load(id))
}

#[concurrent_cached(max_size = 20_000, ttl_secs = 3600, key = "String", convert = { format!("user:{id}") })]
pub(crate) fn cached_text(id: u64) -> Arc<User> {
    Arc::new(data::load(id))
}

#[concurrent_cached(max_size = 20_000, ttl_secs = 3600, key = "String", convert = { format!("user:{id}") })]
pub(crate) async fn cached_text_async(id: u64) -> Arc<User> {
    Arc::new(data::load(id))
}

#[concurrent_cached(max_size = 20_000, ttl_secs = 3600)]
pub(crate) fn cached_number_by_value(id: u64) -> User {
    data::load(id)
}

#[concurrent_cached(max_size = 20_000, ttl_secs = 3600, key = "String", convert = { format!("user:{id}") })]
pub(crate) fn cached_text_by_value(id: u64) -> User {
    data::load(id)
}

/// One value for the clone alone, by id so that it is as cold as in a cache.
static USERS: LazyLock<Vec<User>> = LazyLock::new(|| {
    let mut users: Vec<User> = (0..data::KEYS).map(|rank| data::load(data::id_of_rank(rank))).collect();
    users.sort_by_key(|user| user.id);
    users
});

pub(crate) async fn clone_alone(id: u64) -> User {
    USERS[(id - data::id_of_rank(0)) as usize].clone()
}

static QUICK_SLOW: LazyLock<quick_cache::sync::Cache<u64, Arc<User>, UnitWeighter, DefaultHashBuilder>> =
    LazyLock::new(|| quick_cache::sync::Cache::new(CAPACITY));

pub(crate) async fn slow_quick(round: u64) -> Arc<User> {
    let load = async {
        tokio::time::sleep(crate::stampede::LOADER).await;
        Ok::<_, std::convert::Infallible>(Arc::new(data::load(round)))
    };
    match QUICK_SLOW.get_or_insert_async(&round, load).await {
        Ok(user) => user,
        Err(never) => match never {},
    }
}

static MOKA_SLOW: LazyLock<moka::future::Cache<u64, Arc<User>>> =
    LazyLock::new(|| moka::future::Cache::new(CAPACITY as u64));

pub(crate) async fn slow_moka(round: u64) -> Arc<User> {
    let load = async {
        tokio::time::sleep(crate::stampede::LOADER).await;
        Arc::new(data::load(round))
    };
    MOKA_SLOW.get_with(round, load).await
}

#[cached(max_size = 20_000, ttl_secs = 3600, sync_writes = "by_key")]
pub(crate) async fn slow_cached(round: u64) -> Arc<User> {
    tokio::time::sleep(crate::stampede::LOADER).await;
    Arc::new(data::load(round))
}
