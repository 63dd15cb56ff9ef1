//! Caches that a call owns, and functions that belong to a type of which their path says nothing.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::State;
use cache_runtime::{Cache, cache_read, cache_write, memoize};

#[derive(Clone)]
struct App {
    cache: Cache,
}

impl App {
    fn cache(&self) -> &Cache {
        &self.cache
    }
}

#[cache_read(key = "owned:<id>", cache = cache, skip(cache))]
async fn owned(cache: Cache, id: u64) -> u64 {
    drop(cache);
    id
}

#[cache_read(key = "state:<id>", cache = cache, skip(cache))]
async fn state(State(cache): State<Cache>, id: u64) -> u64 {
    drop(cache);
    id
}

#[cache_read(key = "field:<id>", cache = app.cache, skip(app))]
async fn field(State(app): State<App>, id: u64) -> u64 {
    drop(app);
    id
}

#[cache_read(key = "method:<id>", cache = app.cache(), skip(app))]
async fn method(app: Arc<App>, id: u64) -> u64 {
    drop(app);
    id
}

#[cache_read(key = "tuple:<id>", cache = state.0, skip(state))]
async fn tuple(state: State<Cache>, id: u64) -> u64 {
    drop(state);
    id
}

#[cache_read(key = "made:<id>", cache = made(app), skip(app), companion = none)]
async fn from_a_function(app: &App, id: u64) -> u64 {
    let _ = app;
    id
}

fn made(app: &App) -> Cache {
    app.cache.clone()
}

#[memoize(key = "memo:<id>", cache = cache, skip(cache))]
fn memoized(cache: Cache, id: u64) -> u64 {
    drop(cache);
    id
}

#[cache_write(keys = ["owned:<id>"], cache = cache)]
async fn write(cache: Cache, id: u64) {
    drop(cache);
    let _ = id;
}

/// A1, API: `cache = expr` may name what the call owns, and its body take it.
#[tokio::test]
async fn a_cache_may_be_a_parameter_by_value() {
    let cache = Cache::memory();
    let app = App { cache: cache.clone() };
    for _ in 0..2 {
        owned(cache.clone(), 1).await;
        state(State(cache.clone()), 1).await;
        field(State(app.clone()), 1).await;
        method(Arc::new(app.clone()), 1).await;
        tuple(State(cache.clone()), 1).await;
        from_a_function(&app, 1).await;
        memoized(cache.clone(), 1);
    }
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.entries), (7, 7, 7));
    write(cache.clone(), 1).await;
    owned(cache.clone(), 1).await;
    assert_eq!(cache.stats().misses, 8);
}

trait Unit: Sized {
    const NAME: &'static str;

    #[memoize]
    fn label(n: u64) -> String
    where
        Self: 'static,
    {
        format!("{n} {}", Self::NAME)
    }

    fn twice(n: u64) -> u64;
}

struct Metre;
struct Foot;

impl Unit for Metre {
    const NAME: &'static str = "m";

    #[memoize(companion = none)]
    fn twice(n: u64) -> u64 {
        2 * n
    }
}

impl Unit for Foot {
    const NAME: &'static str = "ft";

    #[memoize(companion = none)]
    fn twice(n: u64) -> u64 {
        2 * n + 1
    }
}

struct Repo<T, const N: u64>(PhantomData<T>);

impl<T: Unit, const N: u64> Repo<T, N> {
    #[cache_read(key = auto, companion = none)]
    async fn all(n: u64) -> String {
        format!("{n} {} {N}", T::NAME)
    }
}

/// A5, B2: a generated key says whose the function is, also where only the compiler knows.
#[tokio::test]
async fn functions_of_several_types_share_no_entries() {
    let cache = Cache::memory();
    cache
        .scope(async {
            for _ in 0..2 {
                assert_eq!([Metre::label(1), Foot::label(1)], ["1 m", "1 ft"]);
                assert_eq!([Metre::twice(1), Foot::twice(1)], [2, 3]);
                assert_eq!(Repo::<Metre, 1>::all(1).await, "1 m 1");
                assert_eq!(Repo::<Foot, 1>::all(1).await, "1 ft 1");
                assert_eq!(Repo::<Foot, 2>::all(1).await, "1 ft 2");
            }
        })
        .await;
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.entries), (7, 7, 7));
}
