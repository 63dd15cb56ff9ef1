//! What is wrong at present. What that does to bytes is in `link`.

use std::time::Duration;

/// What a client gets instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Corrupt {
    /// Bytes that are no RESP.
    Nonsense,
    /// A string that claims to have 2^63 - 1 bytes, and nothing of it.
    HugeLength,
    /// An array that claims to have 2^63 - 1 elements, and nothing of it.
    HugeArray,
    /// An error, such as `LOADING Redis is loading the dataset in memory` (without the `-`).
    Error(String),
    /// These bytes, line ends included.
    Bytes(Vec<u8>),
    /// Nothing: the connection is reset.
    Reset,
}

impl Corrupt {
    /// An error, such as `OOM`. What follows the first word is nobody's business.
    #[must_use]
    pub fn error(text: &str) -> Self {
        Self::Error(text.to_owned())
    }

    /// What is sent; `None` where the connection is reset instead.
    pub(super) fn bytes(&self) -> Option<Vec<u8>> {
        Some(match self {
            Self::Nonsense => b"\x00\xffnonsense\r\n".to_vec(),
            Self::HugeLength => b"$9223372036854775807\r\n".to_vec(),
            Self::HugeArray => b"*9223372036854775807\r\n".to_vec(),
            Self::Error(text) => format!("-{text}\r\n").into_bytes(),
            Self::Bytes(bytes) => bytes.clone(),
            Self::Reset => return None,
        })
    }
}

/// Answers that are still to be replaced.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) corrupt: Corrupt,
    pub(super) left: u64,
    /// Answers to this command only.
    pub(super) command: Option<String>,
}

/// All faults at present.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) delay: Duration,
    pub(super) drop_to_server: bool,
    pub(super) drop_to_client: bool,
    pub(super) swallow_pushes: bool,
    /// The oldest that fits is used first.
    pub(super) plans: Vec<Plan>,
}

impl Faults {
    /// What replaces the answer to a command, which is one answer fewer to replace.
    pub(super) fn replace(&mut self, command: &str) -> Option<Corrupt> {
        self.plans.retain(|plan| plan.left > 0);
        let fits = |plan: &&mut Plan| plan.command.as_deref().is_none_or(|only| only == command);
        let plan = self.plans.iter_mut().find(fits)?;
        plan.left -= 1;
        Some(plan.corrupt.clone())
    }
}
