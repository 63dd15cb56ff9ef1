//! Other processes: how they are started so that none outlives the test, and workers that run annotated functions.

mod guard;
mod serve;
mod worker;

pub use guard::Guard;
pub use serve::serve;
pub use worker::Worker;
