//! The keys of a cache as a stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::Error;
use crate::key::Key;

/// Keys that matched a pattern. A [`Stream`](futures_core::Stream); [`next`](Self::next) and [`collect`](Self::collect) need no further crate.
///
/// Entries that come or go meanwhile may or may not be among them.
#[derive(Debug)]
pub struct Keys {
    found: std::vec::IntoIter<Key>,
    error: Option<Error>,
}

impl Keys {
    pub(super) fn new(found: Result<Vec<Key>, Error>) -> Self {
        match found {
            Ok(keys) => Self { found: keys.into_iter(), error: None },
            Err(error) => Self { found: Vec::new().into_iter(), error: Some(error) },
        }
    }

    /// The next key; `None` at the end.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    #[allow(clippy::unused_async, reason = "a shared backend is asked here")]
    pub async fn next(&mut self) -> Option<Result<Key, Error>> {
        self.advance()
    }

    /// All keys.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    #[allow(clippy::unused_async, reason = "a shared backend is asked here")]
    pub async fn collect<C: FromIterator<Key>>(mut self) -> Result<C, Error> {
        std::iter::from_fn(|| self.advance()).collect()
    }

    fn advance(&mut self) -> Option<Result<Key, Error>> {
        self.error.take().map(Err).or_else(|| self.found.next().map(Ok))
    }
}

impl futures_core::Stream for Keys {
    type Item = Result<Key, Error>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.advance())
    }
}
