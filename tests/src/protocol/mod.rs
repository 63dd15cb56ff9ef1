//! An explicit-state model of the protocol between caches and a server: what each process does, step by step, and every
//! order in which the steps can happen. No code of the runtime is in it: it judges the protocol, not its implementation.
//!
//! | file | what |
//! |---|---|
//! | `explore` | breadth-first search over all states of a model |
//! | `state` | what there is: source, server, processes, readers, writers |
//! | `mutation` | mistakes that can be planted |
//! | `promise` | what must hold, and what is seen to happen |
//! | `scenario` | small worlds |
//! | `action` | what can happen next |
//! | `server`, `process`, `reader`, `writer` | what it does |
//! | `words` | a trace that a person can read |

mod action;
mod explore;
mod mutation;
mod process;
mod promise;
mod reader;
mod scenario;
mod server;
mod state;
mod words;
mod writer;

pub use action::Action;
pub use explore::{Explored, Model, Step, Violation, explore};
pub use mutation::Mutation;
pub use promise::{Promise, Sight, Sights};
pub use scenario::{Covers, Faults, Scenario};
pub use state::{PROCESSES, READERS, State, WRITERS};
