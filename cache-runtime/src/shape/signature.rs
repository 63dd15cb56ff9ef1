//! Classification at the type level, for signatures: `peek` returns `Option<User>` whatever `get_user` wraps it in.
//!
//! A constant tells the wrappings apart (inherent constants of `Probe` win over the trait's), and a trait with that
//! constant as parameter has one implementation for each. Constants cannot mention type parameters; there,
//! [`Declared`] asks for the bound [`Plain`] instead.

use std::sync::Arc;

use super::bounds::Plain;
use super::probe::Probe;

/// A return type at the type level, for signatures. `KIND` is what [`kind`] computes from the [`Probe`]'s constants.
pub trait Outcome<const KIND: u8> {
    /// What is stored.
    type Value;
    /// `Value`, or `Arc<Value>` where the function returns that.
    type Out;
}

/// `Probe`'s constants for types that are not what they ask.
pub trait Fallback {
    /// No `Result`.
    const RESULT: bool = false;
    /// No `Option` below the `Result`.
    const OPTION: bool = false;
    /// No `Arc` below those.
    const ARC: bool = false;
    /// No `Json` below those.
    const JSON: bool = false;
}

impl<R> Fallback for Probe<R> {}

impl<T, E> Probe<Result<T, E>> {
    /// It is a `Result`.
    pub const RESULT: bool = true;
}
impl<T> Probe<Option<T>> {
    /// It is an `Option`.
    pub const OPTION: bool = true;
}
impl<T, E> Probe<Result<Option<T>, E>> {
    /// It is an `Option`.
    pub const OPTION: bool = true;
}
impl<T> Probe<Arc<T>> {
    /// It is an `Arc`.
    pub const ARC: bool = true;
}
impl<T> Probe<Option<Arc<T>>> {
    /// It is an `Arc`.
    pub const ARC: bool = true;
}
impl<T, E> Probe<Result<Arc<T>, E>> {
    /// It is an `Arc`.
    pub const ARC: bool = true;
}
impl<T, E> Probe<Result<Option<Arc<T>>, E>> {
    /// It is an `Arc`.
    pub const ARC: bool = true;
}

/// One number for what a return type is wrapped in.
#[must_use]
pub const fn kind(result: bool, option: bool, arc: bool, json: bool) -> u8 {
    result as u8 | (option as u8) << 1 | (arc as u8) << 2 | (json as u8) << 3
}

macro_rules! outcomes {
    ($($kind:literal: [$($param:ident),*] $ty:ty => $out:ty;)*) => {
        $(impl<$($param),*> Outcome<$kind> for $ty { type Value = T; type Out = $out; })*
    };
}
outcomes! {
    0: [T] T => T;
    1: [T, E] Result<T, E> => T;
    2: [T] Option<T> => T;
    3: [T, E] Result<Option<T>, E> => T;
    4: [T] Arc<T> => Arc<T>;
    5: [T, E] Result<Arc<T>, E> => Arc<T>;
    6: [T] Option<Arc<T>> => Arc<T>;
    7: [T, E] Result<Option<Arc<T>>, E> => Arc<T>;
}

/// [`Outcome`] for generic code, where what a parameter stands for must be said by a bound.
pub trait Declared {
    /// What is stored.
    type Value;
    /// `Value`, or `Arc<Value>` where the function returns that.
    type Out;
}

/// [`Declared`] below a `Result`.
pub trait DeclaredOption {
    /// What is stored.
    type Value;
    /// How it is handed out.
    type Out;
}

/// [`Declared`] below an `Option`.
pub trait DeclaredArc {
    /// What is stored.
    type Value;
    /// How it is handed out.
    type Out;
}

impl<T: Plain> DeclaredArc for T {
    type Value = T;
    type Out = T;
}
impl<T> DeclaredArc for Arc<T> {
    type Value = T;
    type Out = Self;
}
impl<T: Plain> DeclaredOption for T {
    type Value = T;
    type Out = T;
}
impl<T> DeclaredOption for Arc<T> {
    type Value = T;
    type Out = Self;
}
impl<T: DeclaredArc> DeclaredOption for Option<T> {
    type Value = T::Value;
    type Out = T::Out;
}
impl<T: Plain> Declared for T {
    type Value = T;
    type Out = T;
}
impl<T> Declared for Arc<T> {
    type Value = T;
    type Out = Self;
}
impl<T: DeclaredArc> Declared for Option<T> {
    type Value = T::Value;
    type Out = T::Out;
}
impl<T: DeclaredOption, E> Declared for Result<T, E> {
    type Value = T::Value;
    type Out = T::Out;
}
