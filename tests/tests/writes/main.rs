//! `#[cache_write]` as its user sees it: what becomes invalid and when, what is written through, what is recached.

mod dropped;
mod place;
mod put;
mod reads;
mod recache;
