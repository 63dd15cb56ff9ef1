//! The annotated functions, as a user writes them.

use std::sync::{Arc, LazyLock};

use cache_runtime::{Cache, Engine, cache_read, memoize};

use crate::data::{self, User};
use crate::harness::RUNTIME;

fn cache(engine: Engine) -> Cache {
    let builder = Cache::builder().ignore_env().engine(engine).max_items(data::CAPACITY as u64);
    RUNTIME.block_on(builder.build()).expect("the settings are usable")
}

pub(crate) static QUICK: LazyLock<Cache> = LazyLock::new(|| cache(Engine::QuickCache));
pub(crate) static MOKA: LazyLock<Cache> = LazyLock::new(|| cache(Engine::Moka));

/// What annotated functions use that name no cache.
pub(crate) fn init() {
    #[cfg(feature = "recorder")]
    metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder().expect("this is the only recorder");
    LazyLock::force(&MOKA);
    cache_runtime::init(QUICK.clone()).expect("this is the only call");
}

#[cache_read(key = "user:<user_id>", ttl = "1h", tags = ["user:<user_id>:profile", "org:<org_id>"], skip(org_id))]
pub(crate) async fn shared(user_id: u64, org_id: u64) -> Arc<User> {
    Arc::new(data::load(user_id))
}

#[cache_read(key = "user:<user_id>", ttl = "1h", tags = ["user:<user_id>:profile", "org:<org_id>"], skip(org_id))]
pub(crate) async fn by_value(user_id: u64, org_id: u64) -> User {
    data::load(user_id)
}

#[cache_read(cache = *QUICK, key = "user:<user_id>", ttl = "1h", tags = ["user:<user_id>:profile", "org:<org_id>"], skip(org_id))]
pub(crate) async fn shared_named(user_id: u64, org_id: u64) -> Arc<User> {
    Arc::new(data::load(user_id))
}

#[cache_read(cache = *MOKA, key = "user:<user_id>", ttl = "1h", tags = ["user:<user_id>:profile", "org:<org_id>"], skip(org_id))]
pub(crate) async fn shared_moka(user_id: u64, org_id: u64) -> Arc<User> {
    Arc::new(data::load(user_id))
}

#[cache_read(cache = *MOKA, key = "user:<user_id>", ttl = "1h", tags = ["user:<user_id>:profile", "org:<org_id>"], skip(org_id))]
pub(crate) async fn by_value_moka(user_id: u64, org_id: u64) -> User {
    data::load(user_id)
}

#[memoize(ttl = "1h", key = "memo:<user_id>")]
pub(crate) fn memoized(user_id: u64) -> Arc<User> {
    Arc::new(data::load(user_id))
}

#[memoize(ttl = "1h")]
pub(crate) fn memoized_auto(user_id: u64) -> Arc<User> {
    Arc::new(data::load(user_id))
}

#[cache_read(key = "stampede:<round>", ttl = "1h", tags = ["stampedes"])]
pub(crate) async fn slow(round: u64) -> Arc<User> {
    tokio::time::sleep(crate::stampede::LOADER).await;
    Arc::new(data::load(round))
}

#[cache_read(cache = *MOKA, key = "stampede:<round>", ttl = "1h", tags = ["stampedes"])]
pub(crate) async fn slow_moka(round: u64) -> Arc<User> {
    tokio::time::sleep(crate::stampede::LOADER).await;
    Arc::new(data::load(round))
}
