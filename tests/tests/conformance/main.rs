//! Conformance: the same cases over every backend. What a user is promised does not depend on where entries are, and where
//! it does, the case says so by [`On::is_shared`].
//!
//! A case is written once, below [`everywhere!`], which has the list of backends. Each run of a case has a cache of its own
//! by a prefix of its own, and all share one server.

/// Makes a test for each backend of each case.
macro_rules! everywhere {
    ($($(#[$doc:meta])* async fn $name:ident($on:ident: &On) $body:block)*) => {
        $(#[allow(unused_variables, clippy::unit_arg, reason = "a case need not ask where it runs")]
        async fn $name($on: &crate::backend::On) $body)*
        everywhere! { @on memory = Memory: $($(#[$doc])* $name)* }
        everywhere! { @servers $($(#[$doc])* $name)* }
    };
    (@servers $($cases:tt)*) => {
        everywhere! { @on redis = Redis: $($cases)* }
        everywhere! { @on hybrid = Hybrid: $($cases)* }
        everywhere! { @on cluster = Cluster: $($cases)* }
    };
    (@on $module:ident = $backend:ident: $($(#[$doc:meta])* $name:ident)*) => {
        mod $module {
            $($(#[$doc])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let place = concat!(module_path!(), ".", stringify!($name));
                let on = crate::backend::On::new(crate::backend::Backend::$backend, place).await;
                on.cache.scope(super::$name(&on)).await;
            })*
        }
    };
}

/// As [`everywhere!`], of backends that processes share. In a module of its own, beside the cases for all.
macro_rules! on_servers {
    ($($(#[$doc:meta])* async fn $name:ident($on:ident: &On) $body:block)*) => {
        $(async fn $name($on: &crate::backend::On) $body)*
        everywhere! { @servers $($(#[$doc])* $name)* }
    };
}

mod backend;
mod batch;
mod cancel;
mod codec;
mod companion;
mod contention;
mod counter;
mod direct;
mod failure;
mod flight;
mod group;
mod hostile;
mod insight;
mod life;
mod memo;
mod race;
mod read;
mod recache;
mod runtime;
mod tenancy;
mod write;
