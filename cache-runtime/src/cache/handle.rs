//! [`Entry`]: one entry of an annotated method, by its arguments.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::engine::call::Call;
use crate::engine::put::{Put, PutTarget};
use crate::error::Error;
use crate::key::{Key, KeyWriter};
use crate::shape::{Cached, Checked, Maybe, Never, Shared};

/// One entry of an annotated method: what `service.get_user_entry(42)` returns.
///
/// It owns what it needs and can be kept; each call works on what is in the cache then.
#[must_use = "an entry does nothing by itself"]
pub struct Entry<V> {
    call: Call<'static>,
    key: KeyWriter,
    bytes: Arc<dyn Fn(&V) -> u64 + Send + Sync>,
    target: Option<PutTarget<V>>,
    value: PhantomData<fn() -> V>,
}

impl<V> std::fmt::Debug for Entry<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("key", &String::from_utf8_lossy(self.key.logical_bytes())).finish_non_exhaustive()
    }
}

impl<V: Send + Sync + 'static> Entry<V> {
    pub(crate) fn new<S: Cached<Value = V> + 'static>(call: &Call<'_>, key: &KeyWriter, shape: S) -> Self {
        Self {
            call: call.to_owned_call(),
            key: key.clone(),
            bytes: Arc::new(move |value| shape.bytes(value)),
            target: None,
            value: PhantomData,
        }
    }

    /// Where a `put` goes, with the method's tags.
    #[doc(hidden)]
    pub fn with_target(mut self, target: PutTarget<V>) -> Self {
        self.target = Some(target);
        self
    }

    /// Drops the entry, everywhere.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    #[allow(clippy::unused_async, reason = "a shared backend is told here")]
    pub async fn invalidate(&self) -> Result<(), Error> {
        self.call.delete(&self.key).map(drop)
    }

    /// The value, if it is there. Never loads.
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

    /// The value as the cache shares it, if it is there. Never loads.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    #[allow(clippy::unused_async, reason = "a shared backend is asked here")]
    pub async fn peek_arc(&self) -> Result<Option<Arc<V>>, Error> {
        self.call.required()?;
        let shape: Checked<V, Never, Maybe, Shared> = Checked::new(|_| 0);
        Ok(self.call.glance(&self.key, shape).flatten())
    }

    /// Stores what the caller claims, over whatever is there, with the method's ttl and tags.
    ///
    /// # Errors
    ///
    /// The cache cannot be used, or the value is heavier than the store.
    pub async fn put(self, value: impl Put<V>) -> Result<(), Error> {
        let bytes = Arc::clone(&self.bytes);
        let target = match self.target {
            Some(target) => target,
            None => PutTarget::weighed(&self.call, &self.key, move |value| bytes(value)),
        };
        target.store(value).await
    }

    /// The logical key.
    #[must_use]
    pub fn key(&self) -> Key {
        Key::finished(&String::from_utf8_lossy(self.key.logical_bytes()), self.key.template())
    }
}
