//! The same without the feature: nobody is told.

use super::Operation;
use super::name::Metric;
use crate::clock::Nanos;

/// What one cache tells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope;

impl Scope {
    pub(crate) fn new(_prefix: &str, _cache: &str) -> Self {
        Self
    }

    pub(crate) fn function(&self, _resource: &str) -> Function {
        Function
    }

    pub(crate) fn counter(&self, _metric: Metric, _cause: Option<&'static str>) -> Counter {
        Counter
    }

    #[inline]
    pub(crate) fn took(&self, _operation: Operation, _nanos: Nanos) {}
}

/// What one function of a cache tells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Function;

impl Function {
    pub(crate) fn counter(&self, _metric: Metric, _cause: Option<&'static str>) -> Counter {
        Counter
    }

    #[inline]
    pub(crate) fn took(&self, _operation: Operation, _nanos: Nanos) {}
}

/// One counter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter;

impl Counter {
    #[inline]
    pub(crate) fn add(&self, _n: u64) {}
}
