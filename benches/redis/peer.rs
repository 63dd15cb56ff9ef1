//! Peers that keep values on Redis, each as its manual shows it: they know a key and a ttl, and no tags, so they do less than
//! ours does. `cached` reads with one GET, `hitbox` with one HMGET and one PTTL; each has one connection of its own.

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::Duration;

use cache_tests::redis::Server;
use cached::macros::concurrent_cached;
use hitbox::policy::PolicyConfig;
use hitbox_fn::prelude::*;
use hitbox_redis::{ConnectionMode, RedisBackend};
use serde::{Deserialize, Serialize};

use crate::measure::{Case, KEYS};

const TTL: Duration = Duration::from_secs(3600);

static URL: OnceLock<String> = OnceLock::new();

/// [`Page`](crate::function::Page), which derives what only this file needs.
#[derive(Clone, Debug, Serialize, Deserialize, CacheableResponse)]
struct Page {
    id: u64,
    title: String,
    body: String,
}

impl Page {
    fn of(id: u64, size: usize) -> Self {
        Self { id, title: format!("page {id}"), body: "x".repeat(size) }
    }
}

#[concurrent_cached(
    key = "String",
    convert = r##"{ format!("{size}:{id}") }"##,
    map_error = r##"|error| format!("{error:?}")"##,
    ty = "cached::AsyncRedisCache<String, Page>",
    create = r##"{
        let url = URL.get().expect("the server runs");
        cached::AsyncRedisCache::builder("page").ttl(TTL).connection_string(url).build().await.expect("a cache")
    }"##
)]
async fn by_cached(id: u64, size: usize) -> Result<Page, String> {
    Ok(Page::of(id, size))
}

#[cached(prefix = "page")]
async fn by_hitbox(id: u64, size: u64) -> Page {
    Page::of(id, size as usize)
}

/// Cases that have been warmed up.
pub(crate) async fn cases(server: &Server, size: usize) -> Vec<Case> {
    let url = URL.get_or_init(|| server.url());
    let backend = RedisBackend::builder().connection(ConnectionMode::single(url)).build().expect("a backend");
    let policy = PolicyConfig::builder().ttl(TTL).build();
    let hitbox = hitbox_fn::Cache::builder().backend(backend).policy(policy).build();
    for id in 0..KEYS {
        by_cached(id, size).await.expect("it is stored");
        by_hitbox(id, size as u64).cache(&hitbox).await;
    }
    let status = by_hitbox(1, size as u64).cache(&hitbox).with_context().await.1.status;
    assert_eq!(format!("{status:?}"), "Hit");
    vec![
        Case::new("cached 4.1, AsyncRedisCache (no tags)", move |id| async move {
            drop(black_box(by_cached(id, size).await));
        }),
        Case::new("hitbox 0.2 with hitbox-redis (no tags)", move |id| {
            let hitbox = hitbox.clone();
            async move { drop(black_box(by_hitbox(id, size as u64).cache(&hitbox).await)) }
        }),
    ]
}
