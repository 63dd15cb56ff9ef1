//! `self` in what outlives the call: background recaches, and the tags of an entry.

use super::*;

#[derive(Clone)]
struct Shop {
    source: Arc<Source>,
    shard: u32,
}

impl Shop {
    #[cache_read(key = "shop:<self.shard>:<id>", tags = ["shops", self.label(result)])]
    pub(crate) async fn item(&self, id: u64) -> u64 {
        self.source.next() + id
    }

    fn label(&self, item: &u64) -> String {
        format!("shop:{}:{item}", self.shard)
    }

    #[cache_write(tags = ["shops"], recache = [self.item(id), self.item(*result + u64::from(self.shard))], recache_mode = background)]
    async fn by_reference(&self, id: u64) -> Option<u64> {
        (id != 0).then_some(id)
    }

    #[cache_write(tags = ["shops"], recache = [self.item(id)], recache_mode = background)]
    async fn exclusive(&mut self, id: u64) {
        self.shard = 7;
        let _ = id;
    }

    #[cache_write(tags = ["shops"], recache = [self.item(id)], recache_mode = background)]
    async fn shared(self: Arc<Self>, id: u64) {
        drop(self);
        let _ = id;
    }

    #[cache_write(tags = ["shops"], recache = [self.item(id)], recache_mode = background)]
    async fn by_value(self, id: u64) {
        drop(self);
        let _ = id;
    }
}

#[async_trait::async_trait]
trait Boxed {
    async fn boxed(&self, id: u64) -> u64;
}

#[async_trait::async_trait]
impl Boxed for Shop {
    #[cache_write(tags = ["shops"], recache = [self.item(id)], recache_mode = background)]
    async fn boxed(&self, id: u64) -> u64 {
        id
    }
}

/// A5 D3: background work owns `self`.
#[tokio::test]
async fn background_work_owns_self() {
    let cache = cache_runtime::Cache::for_test();
    cache
        .scope(async {
            let settled = async || {
                while cache.stats().background > 0 {
                    tokio::task::yield_now().await;
                }
            };
            let source = Arc::new(Source::default());
            let shop = |shard| Shop { source: Arc::clone(&source), shard };
            assert_send(shop(1).by_reference(0)).await;
            settled().await;
            assert!(shop(1).item_entry(0).peek().await.unwrap().is_some());
            shop(1).by_reference(5).await;
            settled().await;
            assert!(shop(1).item_entry(5).peek().await.unwrap().is_some());
            assert!(shop(1).item_entry(6).peek().await.unwrap().is_some());
            shop(1).exclusive(2).await;
            settled().await;
            assert!(shop(1).item_entry(2).peek().await.unwrap().is_some(), "as `self` was before the body");
            Arc::new(shop(2)).shared(2).await;
            settled().await;
            assert!(shop(2).item_entry(2).peek().await.unwrap().is_some());
            shop(3).by_value(2).await;
            settled().await;
            assert!(shop(3).item_entry(2).peek().await.unwrap().is_some());
            let boxed: &dyn Boxed = &shop(4);
            boxed.boxed(2).await;
            settled().await;
            assert!(shop(4).item_entry(2).peek().await.unwrap().is_some());

            // Tags of an entry that mention `self` and the value.
            shop(9).item_entry(1).put(77).await.unwrap();
            cache.invalidate("shop:9:77").await.unwrap();
            assert_eq!(shop(9).item_entry(1).peek().await.unwrap(), None);
        })
        .await;
}
