//! The live page: its router over real HTTP, who may ask it, its stream, and the page itself in a real browser.

mod backend;
mod browser;
mod events;
mod guard;
mod http;
mod router;
mod shop;
