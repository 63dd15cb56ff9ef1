//! The one error type of the crate. No secret (password, key material, value) may enter its text.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

/// What went wrong in the cache, never in the user's own function.
///
/// Annotated functions do not return it unless they ask for it (`on_error = fail`): a cache that fails
/// counts as a miss. Direct calls on [`Cache`](crate::Cache) return it.
///
/// ```
/// use cache_runtime::{ErrorKind, Tenant};
///
/// let error = Tenant::new("a:b").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidTenant);
/// assert!(!error.is_retryable());
/// ```
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The kinds of [`Error`], for `match`.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let cache = cache_runtime::Cache::memory();
/// use cache_runtime::ErrorKind;
///
/// cache.set("name", "Ada".to_owned()).await?;
/// match cache.incr("name", 1).await {
///     Ok(count) => println!("{count}"),
///     Err(error) if error.kind() == ErrorKind::WrongType => println!("not a counter"),
///     Err(error) if error.is_retryable() => println!("later, perhaps: {error}"),
///     Err(error) => return Err(error),
/// }
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting, an environment variable or a URL cannot be used. Raised at start-up.
    Config,
    /// A key, tag, namespace or pattern is empty.
    InvalidKey,
    /// A tenant's name has characters that could reach outside of it, or a bad length.
    InvalidTenant,
    /// Tenant isolation is enforced and no tenant is in scope.
    TenantRequired,
    /// A time to live is no duration, negative, zero, or too long to be represented.
    InvalidTtl,
    /// The value under the key is not a counter, or the counter would overflow.
    WrongType,
    /// A value could not be encoded, or bytes could not be decoded.
    Codec,
    /// A value is heavier than the whole store, or takes more than 64 MiB on a shared backend.
    TooLarge,
    /// The backend cannot be reached, is loading its data, or did not answer in time; or an invalidation of this process has
    /// not reached it yet. Worth a retry.
    Unavailable,
    /// A function took longer than its `timeout` allows. Worth a retry.
    Timeout,
    /// The server refused who we are or what we do: a wrong user or password, or a rule (`NOAUTH`, `WRONGPASS`, `NOPERM`).
    Denied,
    /// The server accepts no writes: it is a replica, or protects itself after a failed snapshot. Worth a retry.
    ReadOnly,
    /// The server is out of memory and evicts nothing. Worth a retry.
    Full,
    /// The server answered what makes no sense.
    Protocol,
    /// What was asked for does not exist in this version or for this backend.
    Unsupported,
    /// The cache was initialised twice.
    AlreadyInitialized,
    /// The cache was closed.
    Closed,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { inner: Box::new(Inner { kind, message: message.into(), source: None }) }
    }

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// The same error once more, for a second caller. Its source stays behind.
    pub(crate) fn again(&self) -> Self {
        Self::new(self.inner.kind, self.inner.message.clone())
    }

    /// The kind, for `match`.
    ///
    /// ```
    /// use cache_runtime::{ErrorKind, IntoTtl};
    ///
    /// assert_eq!("5mins".into_ttl().unwrap_err().kind(), ErrorKind::InvalidTtl);
    /// ```
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Whether the same call may succeed later without a change of program or configuration.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// cache.close().await?;
    /// let error = cache.ping().await.unwrap_err();
    /// assert!(!error.is_retryable()); // it stays closed
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.inner.kind, ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::ReadOnly | ErrorKind::Full)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Error");
        out.field("kind", &self.inner.kind).field("message", &self.inner.message);
        if let Some(source) = &self.inner.source {
            out.field("source", source);
        }
        out.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
