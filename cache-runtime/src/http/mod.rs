//! The cache in an HTTP service: layers for any service on tower, and, with the feature `axum`, what goes with a service on axum.
//!
//! | file | what |
//! |---|---|
//! | `layer` | [`CacheLayer`], what users set up |
//! | `rule` | what it was told |
//! | `request`, `query` | what a request asks for: nothing, or a key |
//! | `serve` | one request on its way through the engine |
//! | `judge`, `directive` | whether a response may be kept, and for how long |
//! | `entry`, `body` | what is kept, and what it becomes again |
//! | `status` | `Cache-Status` |
//! | `extension` | what handlers say beside the headers |
//! | `lifecycle` | [`lifecycle`]: the cache at the start and at the end of a service |
//! | `admin` | the live page |
//! | `tenant` | [`TenantLayer`] and [`ScopeLayer`]: in which context a request runs |
//!
//! Nothing here decides who loads, who waits, or what is still valid: that is the engine's.

#[cfg(feature = "axum")]
pub mod admin;
mod body;
mod directive;
mod entry;
mod extension;
mod judge;
mod layer;
#[cfg(feature = "axum")]
mod lifecycle;
mod query;
mod request;
mod rule;
mod serve;
mod status;
mod tenant;

pub use body::{Body, BoxError};
pub use extension::{KeepFor, Tags};
pub use layer::{CacheLayer, CacheService};
#[cfg(feature = "axum")]
pub use lifecycle::{Lifecycle, lifecycle};
pub use rule::{Credentials, UNKEYED};
pub use tenant::{ScopeLayer, ScopeService, TenantLayer, TenantService};
