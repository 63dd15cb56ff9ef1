//! The cache in an HTTP service: layers for any service on tower, and, with the feature `axum`, what goes with a service on axum.

#[cfg(feature = "axum")]
pub mod admin;
