//! The keys of a cache as a stream.

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::engine::call::Call;
use crate::error::Error;
use crate::key::{Key, Pattern};
use crate::store::Cursor;

/// Keys that matched a pattern. A [`Stream`](futures_core::Stream); [`next`](Self::next) and [`collect`](Self::collect) need
/// no further crate.
///
/// Entries that come or go meanwhile may or may not be among them. No key is among them twice.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let cache = cache_runtime::Cache::memory();
/// cache.set_many([("user:1", 1_u64), ("user:2", 2), ("org:1", 3)]).await?;
/// let mut keys = cache.keys("user:*");
/// let mut users = 0;
/// while let Some(key) = keys.next().await {
///     assert!(key?.as_str().starts_with("user:"));
///     users += 1;
/// }
/// assert_eq!(users, 2);
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
pub struct Keys {
    found: std::vec::IntoIter<Key>,
    error: Option<Error>,
    rest: Option<Rest>,
}

/// What a shared backend has not been asked yet.
struct Rest {
    page: Pin<Box<dyn Future<Output = Answer> + Send>>,
    /// A scan may find a key twice.
    seen: HashSet<Key>,
}

/// One page and where to go on; the call is for the next one.
type Answer = (Call<'static>, Pattern, Result<(Vec<Key>, Option<Cursor>), Error>);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("found", &self.found.len()).finish_non_exhaustive()
    }
}

impl Keys {
    pub(super) fn new(found: Result<Vec<Key>, Error>) -> Self {
        match found {
            Ok(keys) => Self { found: keys.into_iter(), error: None, rest: None },
            Err(error) => Self { found: Vec::new().into_iter(), error: Some(error), rest: None },
        }
    }

    /// Keys of a shared backend, asked for page by page.
    pub(super) fn paged(call: Call<'static>, pattern: Pattern) -> Self {
        let rest = Rest { page: Box::pin(page(call, pattern, Cursor::default())), seen: HashSet::new() };
        Self { found: Vec::new().into_iter(), error: None, rest: Some(rest) }
    }

    /// The next key; `None` at the end.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// let mut keys = cache.keys("*");
    /// assert!(keys.next().await.is_none()); // nothing is cached
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn next(&mut self) -> Option<Result<Key, Error>> {
        std::future::poll_fn(|cx| self.poll_key(cx)).await
    }

    /// All keys.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// use std::collections::BTreeSet;
    ///
    /// cache.set_many([("b", 1_u64), ("a", 2)]).await?;
    /// let keys: BTreeSet<_> = cache.keys("*").collect().await?;
    /// assert!(keys.iter().eq(["a", "b"]));
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn collect<C: FromIterator<Key>>(mut self) -> Result<C, Error> {
        let mut keys = Vec::new();
        while let Some(key) = self.next().await {
            keys.push(key?);
        }
        Ok(keys.into_iter().collect())
    }

    fn poll_key(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Key, Error>>> {
        loop {
            if let Some(error) = self.error.take() {
                return Poll::Ready(Some(Err(error)));
            }
            if let Some(key) = self.found.next() {
                return Poll::Ready(Some(Ok(key)));
            }
            let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
            let (call, pattern, found) = ready!(rest.page.as_mut().poll(cx));
            match found {
                Ok((keys, next)) => {
                    let new: Vec<Key> = keys.into_iter().filter(|key| rest.seen.insert(key.clone())).collect();
                    self.found = new.into_iter();
                    match next {
                        Some(next) => rest.page = Box::pin(page(call, pattern, next)),
                        None => self.rest = None,
                    }
                }
                Err(error) => {
                    self.error = Some(error);
                    self.rest = None;
                }
            }
        }
    }
}

async fn page(call: Call<'static>, pattern: Pattern, from: Cursor) -> Answer {
    let found = match call.direct_shared() {
        Ok(Some(direct)) => direct.keys(&pattern, from).await,
        Ok(None) => Ok((Vec::new(), None)),
        Err(error) => Err(error),
    };
    (call, pattern, found)
}

impl futures_core::Stream for Keys {
    type Item = Result<Key, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_key(cx)
    }
}
