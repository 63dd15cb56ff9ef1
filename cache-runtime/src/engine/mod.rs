//! The algorithm, and the only place where it lives: read, load, write, recache, batch and direct access over the
//! memory store, cells and flights. Nothing here looks up ambient state: cache, tenant and site come in by argument.

/// `Debug` for types that hold users' values: their names only, so that no value reaches a log.
macro_rules! opaque_debug {
    ($($name:ident<$life:lifetime, $param:ident $(: $bound:path)?>),* $(,)?) => {
        $(impl<$param $(: $bound)?> std::fmt::Debug for $name<$life, $param> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($name))
            }
        })*
    };
    ($($name:ident<$param:ident $(: $bound:path)?>),* $(,)?) => {
        $(impl<$param $(: $bound)?> std::fmt::Debug for $name<$param> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($name))
            }
        })*
    };
}

pub(crate) mod aging;
pub(crate) mod batch;
pub(crate) mod call;
pub(crate) mod claim;
pub(crate) mod core;
pub(crate) mod direct;
pub(crate) mod load;
pub(crate) mod name;
pub(crate) mod put;
pub(crate) mod read;
pub(crate) mod recache;
pub(crate) mod shared;
pub(crate) mod sink;
pub(crate) mod targets;
pub(crate) mod timed;
pub(crate) mod write;
