//! The macros that are not attributes: `key!`, `resource!` and `#[derive(KeyPart)]`.

pub(crate) mod derive;
pub(crate) mod key;
pub(crate) mod resource;
