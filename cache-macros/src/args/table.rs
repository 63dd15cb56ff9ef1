//! The options of every attribute: the one list from which parsing, suggestions and help texts come.

use crate::suggest;

/// An attribute and what may stand in it.
#[derive(Debug)]
pub(crate) struct Attribute {
    pub(crate) name: &'static str,
    pub(crate) example: &'static str,
    pub(super) options: &'static [Spec],
}

/// One option.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// How it is written, for pasting.
    pub(super) example: &'static str,
}

/// How an option's value is written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Any expression.
    Expr,
    /// Expressions in brackets; one alone may go without them.
    List,
    /// `"5m"`, `"forever"`, integer seconds, or an expression.
    Ttl,
    /// A duration literal that is not zero.
    Duration,
    /// A duration literal that may be zero.
    DurationOrZero,
    /// `auto` or a duration literal.
    Early,
    /// `"10%"` or a duration literal.
    Jitter,
    /// `"0.1%"`.
    Share,
    /// `false`, `true` or a duration literal.
    Local,
    /// A size in bytes.
    Size,
    /// `true` or `false`.
    Bool,
    /// An integer that is not zero.
    Int,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Names in parentheses.
    Names,
    /// `(id in ids)`.
    Each,
    /// A path.
    Path,
}

impl Attribute {
    pub(crate) fn names(&self) -> String {
        suggest::list(self.options.iter().map(|spec| spec.name))
    }

    /// An option that exists, but in another attribute.
    pub(super) fn elsewhere(&self, name: &str) -> Option<String> {
        [&READ, &WRITE, &MEMOIZE]
            .into_iter()
            .find(|other| other.name != self.name && other.options.iter().any(|spec| spec.name == name))
            .map(|other| format!("`{name}` is an option of `{}`", other.name))
    }
}

const fn spec(name: &'static str, kind: Kind, example: &'static str) -> Spec {
    Spec { name, kind, example }
}

const KEY: Spec = spec("key", Kind::Expr, "key = \"user:<user_id>\"");
const SKIP: Spec = spec("skip", Kind::Names, "skip(db)");
const TTL: Spec = spec("ttl", Kind::Ttl, "ttl = \"5m\"");
const TAGS: Spec = spec("tags", Kind::List, "tags = [\"user:<user_id>\"]");
const CACHE_IF: Spec = spec("cache_if", Kind::Expr, "cache_if = |value| value.is_public");
const UNLESS: Spec = spec("unless", Kind::Expr, "unless = |value| value.is_draft");
const TTL_NONE: Spec = spec("ttl_none", Kind::DurationOrZero, "ttl_none = \"10s\"");
const TTL_ERR: Spec = spec("ttl_err", Kind::DurationOrZero, "ttl_err = \"1s\"");
const CACHE: Spec = spec("cache", Kind::Expr, "cache = self.cache");
const CRATE: Spec = spec("crate", Kind::Path, "crate = my_cache_runtime");
const COMPANION: Spec = spec("companion", Kind::Word(&["name", "method", "none"]), "companion = none");
const TENANT: Spec = spec("tenant", Kind::Word(&["global"]), "tenant = global");
const RESOURCE: Spec = spec("resource", Kind::Expr, "resource = user(user_id)");

pub(crate) static READ: Attribute = Attribute {
    name: "cache_read",
    example: "#[cache_read(key = \"user:<user_id>\", ttl = \"5m\")]",
    options: &[
        KEY,
        spec("key_with", Kind::Expr, "key_with = path::to::function"),
        RESOURCE,
        spec("suffix", Kind::Expr, "suffix = \"profile\""),
        SKIP,
        TTL,
        TAGS,
        spec("namespace", Kind::Expr, "namespace = \"users\""),
        spec("lock", Kind::Bool, "lock = true"),
        spec("lock_ttl", Kind::Duration, "lock_ttl = \"30s\""),
        spec("wait", Kind::Duration, "wait = \"10s\""),
        spec("early_ttl", Kind::Early, "early_ttl = \"4m\""),
        spec("refresh", Kind::Bool, "refresh = true"),
        spec("stale", Kind::Duration, "stale = \"1m\""),
        spec("stale_if_error", Kind::Duration, "stale_if_error = \"1h\""),
        spec("soft_timeout", Kind::Duration, "soft_timeout = \"100ms\""),
        spec("timeout", Kind::Duration, "timeout = \"2s\""),
        spec("jitter", Kind::Jitter, "jitter = \"10%\""),
        spec("monitor", Kind::Share, "monitor = \"0.1%\""),
        TTL_NONE,
        TTL_ERR,
        CACHE_IF,
        UNLESS,
        spec("bypass", Kind::Expr, "bypass = preview"),
        spec("local", Kind::Local, "local = false"),
        spec("codec", Kind::Word(&["bincode", "json", "msgpack"]), "codec = json"),
        spec("compress_above", Kind::Size, "compress_above = \"1KiB\""),
        spec("encrypt", Kind::Bool, "encrypt = true"),
        spec("version", Kind::Int, "version = 2"),
        TENANT,
        CACHE,
        spec("on_error", Kind::Word(&["load", "fail"]), "on_error = load"),
        spec("each", Kind::Each, "each(id in ids)"),
        spec("by", Kind::Expr, "by = |value| value.id"),
        CRATE,
        COMPANION,
    ],
};

pub(crate) static WRITE: Attribute = Attribute {
    name: "cache_write",
    example: "#[cache_write(tags = [\"user:<user_id>\"])]",
    options: &[
        TAGS,
        spec("keys", Kind::List, "keys = [\"user:<user_id>\"]"),
        spec("namespaces", Kind::List, "namespaces = [\"users\"]"),
        spec("patterns", Kind::List, "patterns = [\"user:<user_id>:*\"]"),
        RESOURCE,
        spec("put", Kind::Expr, "put = get_user(user_id)"),
        spec("recache", Kind::List, "recache = [get_user(db, user_id)]"),
        spec("recache_concurrency", Kind::Int, "recache_concurrency = 5"),
        spec("recache_mode", Kind::Word(&["await", "background"]), "recache_mode = background"),
        spec("before", Kind::Bool, "before = true"),
        spec("fence", Kind::Duration, "fence = \"30s\""),
        spec("on_error", Kind::Word(&["report", "fail"]), "on_error = report"),
        TENANT,
        CACHE,
        CRATE,
    ],
};

pub(crate) static MEMOIZE: Attribute = Attribute {
    name: "memoize",
    example: "#[memoize(ttl = \"60s\")]",
    options: &[
        KEY,
        SKIP,
        TTL,
        spec("capacity", Kind::Int, "capacity = 1000"),
        TAGS,
        CACHE_IF,
        UNLESS,
        TTL_NONE,
        TTL_ERR,
        CACHE,
        CRATE,
        COMPANION,
    ],
};
