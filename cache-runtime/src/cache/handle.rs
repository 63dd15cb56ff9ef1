//! [`Entry`]: one entry of an annotated method, by its arguments.

use std::sync::Arc;

use crate::engine::put::{Put, PutTarget};
use crate::error::Error;
use crate::key::Key;
use crate::shape::{Checked, Handling, Maybe, Never, Shared};

/// One entry of an annotated method: what `service.get_user_entry(42)` returns.
///
/// It owns what it needs and can be kept; each call works on what is in the cache then.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use cache_runtime::{Cache, cache_read};
///
/// struct Shop;
/// impl Shop {
///     #[cache_read(key = "price:<id>", skip(self))]
///     pub async fn price(&self, id: u64) -> u64 {
///         id * 10
///     }
/// }
///
/// Cache::memory().scope(async {
///     Shop.price(1).await;
///     let entry = Shop.price_entry(1);
///     assert_eq!(entry.peek().await?, Some(10));
///     entry.invalidate().await?;
///     assert_eq!(Shop.price_entry(1).peek().await?, None);
///     Ok::<_, cache_runtime::Error>(())
/// }).await?;
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
#[must_use = "an entry does nothing by itself"]
#[derive(Debug)]
pub struct Entry<V> {
    target: PutTarget<V>,
}

impl<V: Send + Sync + 'static> Entry<V> {
    pub(crate) fn new(target: PutTarget<V>) -> Self {
        Self { target }
    }

    /// Drops the entry, everywhere.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # use cache_runtime::{Cache, cache_read};
    /// # struct Shop;
    /// # impl Shop {
    /// #     #[cache_read(key = "price:<id>", skip(self))]
    /// #     pub async fn price(&self, id: u64) -> u64 { id * 10 }
    /// # }
    /// # Cache::memory().scope(async {
    /// Shop.price(1).await;
    /// let entry = Shop.price_entry(1);
    /// entry.invalidate().await?;
    /// assert_eq!(entry.peek().await?, None);
    /// # Ok::<_, cache_runtime::Error>(()) }).await?;
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn invalidate(&self) -> Result<(), Error> {
        self.target.call().invalidate(self.target.key()).await
    }

    /// The value, if it is there. Never loads.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # use cache_runtime::{Cache, cache_read};
    /// # struct Shop;
    /// # impl Shop {
    /// #     #[cache_read(key = "price:<id>", skip(self))]
    /// #     pub async fn price(&self, id: u64) -> u64 { id * 10 }
    /// # }
    /// # Cache::memory().scope(async {
    /// assert_eq!(Shop.price_entry(1).peek().await?, None);
    /// Shop.price(1).await;
    /// assert_eq!(Shop.price_entry(1).peek().await?, Some(10));
    /// # Ok::<_, cache_runtime::Error>(()) }).await?;
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn peek(&self) -> Result<Option<V>, Error>
    where
        V: Clone,
    {
        Ok(self.peek_arc().await?.map(Arc::unwrap_or_clone))
    }

    /// The value as memory shares it, or decoded from a shared backend, if it is there. Never loads.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # use cache_runtime::{Cache, cache_read};
    /// # struct Shop;
    /// # impl Shop {
    /// #     #[cache_read(key = "price:<id>", skip(self))]
    /// #     pub async fn price(&self, id: u64) -> u64 { id * 10 }
    /// # }
    /// # Cache::memory().scope(async {
    /// Shop.price(1).await;
    /// assert_eq!(Shop.price_entry(1).peek_arc().await?.as_deref(), Some(&10));
    /// # Ok::<_, cache_runtime::Error>(()) }).await?;
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn peek_arc(&self) -> Result<Option<Arc<V>>, Error> {
        if let Some(direct) = self.target.call().direct_shared()? {
            return direct.peek(self.target.key(), self.target.handling()).await;
        }
        let shape: Checked<V, Never, Maybe, Shared> = Checked::new(Handling::MEMOIZABLE);
        Ok(self.target.call().glance(self.target.key(), shape).flatten())
    }

    /// Stores what the caller claims, over whatever is there, with the method's ttl and tags.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # use cache_runtime::{Cache, cache_read};
    /// # struct Shop;
    /// # impl Shop {
    /// #     #[cache_read(key = "price:<id>", skip(self))]
    /// #     pub async fn price(&self, id: u64) -> u64 { id * 10 }
    /// # }
    /// # Cache::memory().scope(async {
    /// Shop.price_entry(1).put(99).await?;
    /// assert_eq!(Shop.price(1).await, 99);
    /// # Ok::<_, cache_runtime::Error>(()) }).await?;
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The cache cannot be used, or the value is heavier than the store.
    pub async fn put(self, value: impl Put<V>) -> Result<(), Error> {
        self.target.store(value).await
    }

    /// The logical key.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # use cache_runtime::{Cache, cache_read};
    /// # struct Shop;
    /// # impl Shop {
    /// #     #[cache_read(key = "price:<id>", skip(self))]
    /// #     pub async fn price(&self, id: u64) -> u64 { id * 10 }
    /// # }
    /// # Cache::memory().scope(async {
    /// assert_eq!(Shop.price_entry(1).key().as_str(), "price:1");
    /// # }).await;
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn key(&self) -> Key {
        let key = self.target.key();
        Key::finished(&String::from_utf8_lossy(key.logical_bytes()), key.template())
    }
}
