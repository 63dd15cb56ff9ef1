//! The bounds on what can be stored, each with the message that a user sees who misses it.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A type that a shared cache can keep: it can be serialized and read back by any process.
///
/// Implemented for every type that is `Serialize + DeserializeOwned + Send + Sync + 'static`.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let cache = cache_runtime::Cache::memory();
/// use cache_runtime::{Cache, Error, Storable};
///
/// #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// struct User {
///     id: u64,
/// }
///
/// async fn remember<V: Storable>(cache: &Cache, value: V) -> Result<(), Error> {
///     cache.set("last", value).await
/// }
///
/// remember(&cache, User { id: 42 }).await?;
/// assert_eq!(cache.get::<User>("last").await?.map(|user| user.id), Some(42));
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be stored in the cache",
    label = "not storable",
    note = "a cached value must be `serde::Serialize + serde::de::DeserializeOwned + Send + Sync + 'static`",
    note = "add `#[derive(Clone, serde::Serialize, serde::Deserialize)]` to it, or use `#[memoize]`, which keeps values in this process and needs only `Clone + Send + Sync`"
)]
pub trait Storable: Serialize + DeserializeOwned + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Storable for T {}

/// A type that `#[memoize]` can keep in this process: `Send + Sync + 'static`.
///
/// ```
/// use cache_runtime::{Cache, memoize};
///
/// #[derive(Clone)]
/// struct Parsed(Vec<&'static str>); // nothing of serde
///
/// #[memoize]
/// fn parse(text: &str) -> Parsed {
///     Parsed(if text.is_empty() { vec![] } else { vec!["word"] })
/// }
///
/// Cache::memory().scope_blocking(|| assert_eq!(parse("a").0, parse("a").0));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be memoized",
    label = "not memoizable",
    note = "a memoized value is shared between threads: it must be `Send + Sync + 'static`"
)]
pub trait Memoizable: Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Send + Sync + 'static> Memoizable for T {}

/// Evidence that values can be told apart, for `monitor`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be compared, and `monitor` compares what is cached with what the source says",
    label = "not comparable",
    note = "add `#[derive(PartialEq)]` to it, or remove `monitor`"
)]
pub trait Comparable: PartialEq {}

#[diagnostic::do_not_recommend]
impl<T: PartialEq> Comparable for T {}

/// A type that is not a `Result`: the bound to put on a type parameter that a cached generic function returns.
///
/// Without it a parameter could be a `Result`, whose `Err` must never be cached, and nobody could tell.
///
/// ```
/// # #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// struct User { id: u64 }
/// impl cache_runtime::Plain for User {}
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` could be a `Result`, so the cache cannot tell its failures from its values",
    note = "add the bound `{Self}: cache_runtime::Plain`, and `impl cache_runtime::Plain for ..` on the types it stands for"
)]
pub trait Plain: Unpin {}

macro_rules! plain {
    ($($ty:ty),* $(,)?) => { $(impl Plain for $ty {})* };
}
plain!(
    (),
    bool,
    char,
    u8,
    u16,
    u32,
    u64,
    u128,
    usize,
    i8,
    i16,
    i32,
    i64,
    i128,
    isize,
    f32,
    f64,
    String,
    Box<str>,
    std::time::Duration,
);
impl<T: Unpin> Plain for Vec<T> {}
impl<T> Plain for Box<[T]> {}
impl<K, V, S: Unpin> Plain for std::collections::HashMap<K, V, S> where Self: Unpin {}
impl<K, V> Plain for std::collections::BTreeMap<K, V> where Self: Unpin {}
impl<T, S: Unpin> Plain for std::collections::HashSet<T, S> where Self: Unpin {}
impl<T> Plain for std::collections::BTreeSet<T> where Self: Unpin {}
impl<A: Unpin, B: Unpin> Plain for (A, B) {}
impl<A: Unpin, B: Unpin, C: Unpin> Plain for (A, B, C) {}
