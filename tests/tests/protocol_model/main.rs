//! The protocol in small worlds: every order in which what readers, writers, processes and the server do can happen, and
//! what can go wrong. The model is `cache_tests::protocol`; `docs/consistency.md` says what it covers and what it does not.
//!
//! | file | what |
//! |---|---|
//! | `world` | the worlds, each with what has to be seen in it |
//! | `kept` | the promises are kept in all of them |
//! | `mutation` | each planted mistake breaks one, and how |
//! | `limit` | what is not promised, and that it would not hold |

mod kept;
mod limit;
mod mutation;
mod world;
