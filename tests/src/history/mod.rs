//! The history checker: several worker processes read and write rows of a real database through one cache while things
//! break, each writes down what it did and when, and [`check`] proves over all of it that nobody was served what he must not
//! see. What it proves, and how to run it with a seed: `docs/consistency.md`. Nothing here knows the framework: the
//! annotated functions are in `bin/history-worker`.
//!
//! | file | what |
//! |---|---|
//! | `event` | what is written down, line by line |
//! | `source` | the database, which also says what was ever committed |
//! | `dice` | numbers from a seed |
//! | `schedule` | which faults come when, drawn from a seed |
//! | `fleet` | a server, workers with a proxy each, and what is done to them |
//! | `run` | a random run: workers at work while the schedule happens |
//! | `check` | the proof; pure |
//! | `report` | what is printed where it fails |

mod check;
mod dice;
mod event;
mod fleet;
mod report;
mod run;
mod schedule;
mod source;

pub use check::{Coverage, Fault, History, Kind, Process, Rule, Violation};
pub use dice::Dice;
pub use event::{Event, Got, How, Log, Nanos, OpId, now, process_of};
pub use fleet::{Backend, FAMILIES, Fleet, ROWS, is_fenced, row_name};
pub use run::{Plan, Round, random};
pub use schedule::{Blow, Step, draw};
pub use source::{Commit, Row, Source, SourceError};
