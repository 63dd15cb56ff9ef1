//! The facade: [`Cache`] and its direct operations. Algorithms are the engine's; here is what users hold and call.

pub(crate) mod builder;
pub(crate) mod catalogue;
pub(crate) mod context;
mod entries;
mod groups;
pub(crate) mod handle;
pub(crate) mod insight;
pub(crate) mod keys;
pub(crate) mod operation;
pub(crate) mod overview;
#[cfg(feature = "testing")]
pub(crate) mod testing;
pub(crate) mod warm;

use std::fmt;
use std::sync::Arc;

use crate::engine::call::{Call, Held};
use crate::engine::core::Core;
use crate::engine::direct::DIRECT;
use crate::engine::sink::{IntoTags, canonical};
use crate::error::{Error, ErrorKind};

/// A cache: what annotated functions use, and direct typed access to the same entries.
///
/// Cheap to clone; all clones are one cache. Keys are logical: prefix, version and the current tenant are added.
///
/// ```
/// # async fn example() -> Result<(), cache_runtime::Error> {
/// use cache_runtime::Cache;
///
/// let cache = Cache::builder().url("mem://").build().await?;
/// cache.set("greeting", "hello".to_owned()).ttl("5m").tags(["texts"]).await?;
/// assert_eq!(cache.get::<String>("greeting").await?.as_deref(), Some("hello"));
/// cache.invalidate("texts").await?;
/// assert_eq!(cache.get::<String>("greeting").await?, None);
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
/// ```
///
/// # Errors
///
/// Direct calls fail with [`ErrorKind::TenantRequired`](crate::ErrorKind::TenantRequired) where isolation is enforced and
/// no tenant is in scope, and with [`ErrorKind::Closed`](crate::ErrorKind::Closed) after [`close`](Self::close). On Redis
/// they fail with [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) while the server cannot be reached, and as it
/// answers.
///
/// # Cancel safety
///
/// In memory every operation completes at its first poll; dropping it before that does nothing.
///
/// On Redis, `invalidate`, `invalidate_namespace`, `delete_match` and `clear` are done even if they are dropped after their
/// first poll: what was not delivered is delivered in the background. Any other operation that is dropped was done or was
/// not; an entry is never half written, and of several (`set_many`) some may be.
#[derive(Clone)]
pub struct Cache {
    pub(crate) core: Arc<Core>,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("settings", &self.core.settings).finish_non_exhaustive()
    }
}

impl Cache {
    fn call(&self) -> Call<'_> {
        Call::new(Ok(Held::Borrowed(&self.core)), &DIRECT, context::tenant())
    }

    /// Whether `other` is this cache.
    ///
    /// ```
    /// use cache_runtime::Cache;
    ///
    /// let cache = Cache::memory();
    /// assert!(cache.is_same(&cache.clone()));
    /// assert!(!cache.is_same(&Cache::memory()));
    /// ```
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.core, &other.core)
    }
}

/// The texts of tags, each in its final form.
pub(crate) fn collect<M>(tags: impl IntoTags<M>) -> Result<Vec<Box<[u8]>>, Error> {
    let mut all: Vec<Box<[u8]>> = Vec::new();
    let mut wrong = None;
    tags.for_each_tag(&mut |tag| {
        wrong = wrong.take().or(some_text("tag", tag).err());
        all.push(canonical(tag).into());
    });
    wrong.map_or(Ok(all), Err)
}

/// Refuses an empty text: it would name something that nobody can mean.
pub(crate) fn some_text(what: &str, text: &str) -> Result<(), Error> {
    if text.is_empty() {
        return Err(Error::new(ErrorKind::InvalidKey, format!("the {what} is empty")));
    }
    Ok(())
}
