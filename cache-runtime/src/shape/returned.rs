//! Return types that are looked at and passed on: what a write's result says.

use std::sync::Arc;

#[cfg(feature = "axum")]
use axum::Json;

#[cfg(feature = "axum")]
use super::json::InJson;
use super::probe::{Fallible, FallibleShared, Maybe, Never, One, Owned, Shape, Shared};

/// A return type that is only looked at, as writes do: no bound on the value.
pub trait Returned: Copy {
    /// The function's return type.
    type Ret;
    /// The value in it.
    type Value;
    /// Whether it is a success.
    fn succeeded(self, ret: &Self::Ret) -> bool;
    /// The value, unless it failed or is absent.
    fn value(self, ret: &Self::Ret) -> Option<&Self::Value>;
}

/// A return type whose value a write-through can store.
pub trait Kept: Returned {
    /// The value for the store; the caller keeps its own.
    fn keep(self, ret: &Self::Ret) -> Option<Arc<Self::Value>>;
}

/// One implementation per wrapping: a reference into a generic wrapping could not be given a lifetime.
macro_rules! returned {
    ($([$($e:ident)?] $failure:ty, $presence:ty, $hand:ty: $ret:ty, |$r:ident| $ok:expr, $value:expr, $keep:expr $(; $clone:ident)?;)*) => {
        $(impl<V, $($e)?> Returned for Shape<V, $failure, $presence, $hand> {
            type Ret = $ret;
            type Value = V;
            #[allow(unused_variables)]
            fn succeeded(self, $r: &Self::Ret) -> bool {
                $ok
            }
            fn value(self, $r: &Self::Ret) -> Option<&V> {
                $value
            }
        }
        #[diagnostic::do_not_recommend]
        impl<V, $($e)?> Kept for Shape<V, $failure, $presence, $hand>
        where
            $(V: $clone)?
        {
            fn keep(self, $r: &Self::Ret) -> Option<Arc<V>> {
                $keep
            }
        })*
    };
}

returned! {
    [] Never, One, Owned: V, |ret| true, Some(ret), Some(ret).map(|out| Arc::new(out.clone())); Clone;
    [] Never, One, Shared: Arc<V>, |ret| true, Some(ret).map(|out| &**out), Some(Arc::clone(ret));
    [] Never, Maybe, Owned: Option<V>, |ret| true, ret.as_ref(), ret.as_ref().map(|out| Arc::new(out.clone())); Clone;
    [] Never, Maybe, Shared: Option<Arc<V>>, |ret| true, ret.as_ref().map(|out| &**out), ret.as_ref().map(Arc::clone);
    [E] Fallible<E>, One, Owned: Result<V, E>, |ret| ret.is_ok(), ret.as_ref().ok(), ret.as_ref().ok().map(|out| Arc::new(out.clone())); Clone;
    [E] Fallible<E>, One, Shared: Result<Arc<V>, E>, |ret| ret.is_ok(), ret.as_ref().ok().map(|out| &**out), ret.as_ref().ok().map(Arc::clone);
    [E] Fallible<E>, Maybe, Owned: Result<Option<V>, E>, |ret| ret.is_ok(), ret.as_ref().ok().and_then(Option::as_ref), ret.as_ref().ok().and_then(Option::as_ref).map(|out| Arc::new(out.clone())); Clone;
    [E] Fallible<E>, Maybe, Shared: Result<Option<Arc<V>>, E>, |ret| ret.is_ok(), ret.as_ref().ok().and_then(Option::as_ref).map(|out| &**out), ret.as_ref().ok().and_then(Option::as_ref).map(Arc::clone);
    [E] FallibleShared<E>, One, Owned: Result<V, E>, |ret| ret.is_ok(), ret.as_ref().ok(), ret.as_ref().ok().map(|out| Arc::new(out.clone())); Clone;
    [E] FallibleShared<E>, One, Shared: Result<Arc<V>, E>, |ret| ret.is_ok(), ret.as_ref().ok().map(|out| &**out), ret.as_ref().ok().map(Arc::clone);
    [E] FallibleShared<E>, Maybe, Owned: Result<Option<V>, E>, |ret| ret.is_ok(), ret.as_ref().ok().and_then(Option::as_ref), ret.as_ref().ok().and_then(Option::as_ref).map(|out| Arc::new(out.clone())); Clone;
    [E] FallibleShared<E>, Maybe, Shared: Result<Option<Arc<V>>, E>, |ret| ret.is_ok(), ret.as_ref().ok().and_then(Option::as_ref).map(|out| &**out), ret.as_ref().ok().and_then(Option::as_ref).map(Arc::clone);
}
#[cfg(feature = "axum")]
returned! {
    [] Never, One, InJson: Json<V>, |ret| true, Some(&ret.0), Some(Arc::new(ret.0.clone())); Clone;
    [] Never, Maybe, InJson: Option<Json<V>>, |ret| true, ret.as_ref().map(|out| &out.0), ret.as_ref().map(|out| Arc::new(out.0.clone())); Clone;
    [E] Fallible<E>, One, InJson: Result<Json<V>, E>, |ret| ret.is_ok(), ret.as_ref().ok().map(|out| &out.0), ret.as_ref().ok().map(|out| Arc::new(out.0.clone())); Clone;
    [E] Fallible<E>, Maybe, InJson: Result<Option<Json<V>>, E>, |ret| ret.is_ok(), ret.as_ref().ok().and_then(Option::as_ref).map(|out| &out.0), ret.as_ref().ok().and_then(Option::as_ref).map(|out| Arc::new(out.0.clone())); Clone;
    [E] FallibleShared<E>, One, InJson: Result<Json<V>, E>, |ret| ret.is_ok(), ret.as_ref().ok().map(|out| &out.0), ret.as_ref().ok().map(|out| Arc::new(out.0.clone())); Clone;
    [E] FallibleShared<E>, Maybe, InJson: Result<Option<Json<V>>, E>, |ret| ret.is_ok(), ret.as_ref().ok().and_then(Option::as_ref).map(|out| &out.0), ret.as_ref().ok().and_then(Option::as_ref).map(|out| Arc::new(out.0.clone())); Clone;
}
