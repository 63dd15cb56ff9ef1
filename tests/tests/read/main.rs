//! `#[cache_read]` as its user sees it: keys, tags, lifetimes, what is stored and what is not, and who loads.

mod hygiene;
mod kept;
mod keys;
mod life;
mod loads;
mod place;
mod returns;
mod tags;
