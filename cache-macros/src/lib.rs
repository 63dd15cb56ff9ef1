//! The attributes and macros of `cache-runtime`, which re-exports and documents them. Entry points only.
//!
//! Each way through this crate is `args → model → check → expand`: options are read (`args`), checked against each other
//! and against the function (`check`), written down as a plan that only has valid states (`model`), and turned into
//! tokens (`expand`). The algorithm is in the runtime, never in `quote!`.

#![forbid(unsafe_code)]

/// `quote!` with hygienic local names.
macro_rules! q {
    ($($tokens:tt)*) => { ::quote::quote_spanned!($crate::hygiene::span()=> $($tokens)*) };
}

mod args;
mod check;
mod entry;
mod error;
mod expand;
mod function;
mod hygiene;
mod item;
mod model;
mod suggest;
mod template;
mod tokens;
mod unit;

use proc_macro::TokenStream;

/// Puts a cache in front of an async function.
///
/// ```text
/// #[cache_read(key = "user:<user_id>", ttl = "5m", tags = ["org:<result.org_id>"], skip(db))]
/// async fn get_user(db: &Db, user_id: u64) -> Result<User, DbError> { .. }
/// ```
///
/// The function keeps its signature. Where the value is cached and fresh the body does not run; callers at the same time
/// share one run. Every parameter is in the key or in `skip(..)`; the compiler sees to that.
///
/// | option | meaning | default |
/// |---|---|---|
/// | `key`, `key_with`, or `resource` and `suffix` | where the value lives; `auto` is module, function and parameters | required |
/// | `skip(a, b)` | parameters that do not select the value | none |
/// | `ttl` | `"1h30m"`, integer seconds, `Ttl::Short`, `"forever"`, an expression, or a closure over the value | `Ttl::Default` |
/// | `tags = [..]` | templates, resources, or expressions that yield tags | the key itself |
/// | `namespace` | a group that can be dropped at once | none |
/// | `lock`, `lock_ttl`, `wait` | one loader in the whole fleet | `false`, `"30s"`, `"10s"` |
/// | `early_ttl` | from this age on, a hit is served and starts one refresh; `auto`: by chance, as XFetch says | off |
/// | `stale` | after `ttl`, serve the old value this long while one caller refreshes | off |
/// | `stale_if_error` | after `ttl`, serve the old value this long where the load fails | off |
/// | `soft_timeout`, `timeout` | after this, return the old value and let the load go on; give it up | off |
/// | `refresh` | a hit extends the life by `ttl` | `false` |
/// | `jitter` | spread of the ttl | `"0%"` |
/// | `monitor` | the share of hits that is compared with the source in the background | off |
/// | `ttl_none`, `ttl_err` | how long a `None` or an `Err` is kept | like a value; never |
/// | `cache_if`, `unless` | closures over the value that decide whether it is stored | stored |
/// | `bypass` | an expression; where true, the function is called and nothing else happens | `false` |
/// | `each(id in ids)`, `by` | one entry per element, each with its own age; the body runs with the missing ones | off |
/// | `version`, `codec`, `compress_above`, `encrypt` | how the value is written down | the cache's own |
/// | `local` | whether a hybrid cache has copies in memory, or for how long: `false`, `"10s"` | `true` |
/// | `tenant`, `cache`, `on_error` | which tenant, which cache, what happens when it fails | per config, the global one, `load` |
/// | `companion`, `crate` | where the verbs go; the name of the runtime crate | by the function, `cache_runtime` |
#[proc_macro_attribute]
pub fn cache_read(args: TokenStream, item: TokenStream) -> TokenStream {
    entry::read(args.into(), item.into(), false).into()
}

/// Invalidates and recaches after an async function that changes data.
///
/// ```text
/// #[cache_write(tags = ["user:<user_id>"], recache = [get_user(db, user_id)])]
/// async fn rename_user(db: &Db, user_id: u64, name: String) -> Result<User, DbError> { .. }
/// ```
///
/// Runs the body; only after success it invalidates, then recaches. What it needs of the arguments is captured before the
/// body, which may consume them. A failing body invalidates nothing.
///
/// | option | meaning | default |
/// |---|---|---|
/// | `tags`, `keys`, `namespaces`, `patterns`, `resource` | what becomes invalid; templates may use `<result..>` | – |
/// | `put` | the result becomes this entry: a call of a cached function, or a key | off |
/// | `recache = [..]` | calls of cached functions that are run and stored after the invalidation | none |
/// | `recache_concurrency`, `recache_mode` | how many at a time; `await` or `background` | 5, `await` |
/// | `before` | invalidate before the body, too | `false` |
/// | `fence` | mark tags and namespaces as being written before the body runs: nobody serves or keeps what carries them meanwhile. On Redis keys as well, for all processes, until this long after the writer died | off |
/// | `on_error` | the invalidation could not be delivered: `report` it, or `fail` with it | `report` |
/// | `cache`, `tenant`, `crate` | as for [`macro@cache_read`] | |
#[proc_macro_attribute]
pub fn cache_write(args: TokenStream, item: TokenStream) -> TokenStream {
    entry::write(args.into(), item.into()).into()
}

/// Remembers what a function returned, in this process; for functions that are async and those that are not.
///
/// ```text
/// #[memoize(ttl = "60s")]
/// async fn report(period: Period, region: &str) -> Report { .. }
/// ```
///
/// The key is module, function and every parameter that is not in `skip(..)`; `key` overrides that. Values are kept as
/// they are: they need `Clone + Send + Sync`, and no serialization. Options: `key`, `skip`, `ttl`, `capacity`, `tags`,
/// `cache_if`, `unless`, `ttl_none`, `ttl_err`, `cache`, `companion`, `crate`.
#[proc_macro_attribute]
pub fn memoize(args: TokenStream, item: TokenStream) -> TokenStream {
    entry::read(args.into(), item.into(), true).into()
}

/// A checked key of variables in scope: `key!("user:<user_id>")`.
///
/// The template language and its guarantees are those of the attributes. Values can be given by position or by name, as
/// in `format!`: `key!("user:<0>:<lang>", id, lang = user.lang)`.
#[proc_macro]
pub fn key(input: TokenStream) -> TokenStream {
    item::key::expand(input.into()).into()
}

/// Declares resources: names with ids that are checked by the compiler wherever they stand for a tag or a key.
///
/// ```text
/// resource! { pub user("user", user_id: u64); }
/// ```
#[proc_macro]
pub fn resource(input: TokenStream) -> TokenStream {
    item::resource::expand(input.into()).into()
}

/// Makes a type usable as a part of a key: newtypes, structs of parts, and enums.
///
/// `#[key(rename = "..")]` on a variant changes how it is written; `#[key(crate = path)]` on the type names the runtime
/// crate.
#[proc_macro_derive(KeyPart, attributes(key))]
pub fn derive_key_part(input: TokenStream) -> TokenStream {
    item::derive::expand(input.into()).into()
}
