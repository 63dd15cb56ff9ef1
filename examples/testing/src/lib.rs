//! A service whose tests show how code that uses the cache is tested: see `tests/service.rs`.
//!
//! ```sh
//! cargo test -p testing
//! ```
//!
//! Nothing in here is there for the tests. Which cache the annotated functions use is decided by who calls them.

use std::sync::Arc;

use cache_runtime::{cache_read, cache_write};
use serde::{Deserialize, Serialize};

/// A shop's article.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Article {
    /// Its number.
    pub id: u64,
    /// In which list it is.
    pub shelf: String,
    /// What it costs.
    pub cents: u64,
}

/// Why a query failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The database does not answer.
    Down,
    /// There is no such row.
    NotFound,
}

/// Where articles are kept. In production a database; tests bring their own.
pub trait Store: Send + Sync + 'static {
    /// One article.
    ///
    /// # Errors
    ///
    /// The database does not answer.
    fn find(&self, id: u64) -> Result<Option<Article>, StoreError>;

    /// The numbers of a shelf's articles.
    ///
    /// # Errors
    ///
    /// The database does not answer.
    fn shelf(&self, name: &str) -> Result<Vec<u64>, StoreError>;

    /// Changes a price, and returns the article as it is now.
    ///
    /// # Errors
    ///
    /// The database does not answer, or there is no such article.
    fn set_price(&self, id: u64, cents: u64) -> Result<Article, StoreError>;
}

/// What the shop's handlers call.
#[derive(Clone)]
pub struct Shop {
    store: Arc<dyn Store>,
}

impl std::fmt::Debug for Shop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shop").finish_non_exhaustive()
    }
}

impl Shop {
    /// A shop on a database.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// An article; where the database is away, one that is up to an hour too old.
    ///
    /// # Errors
    ///
    /// The database does not answer, and nothing is known.
    #[cache_read(key = "article:<id>", ttl = "5m", ttl_none = "10s", stale_if_error = "1h", skip(self))]
    pub async fn article(&self, id: u64) -> Result<Option<Article>, StoreError> {
        self.store.find(id)
    }

    /// What is on a shelf.
    ///
    /// # Errors
    ///
    /// The database does not answer.
    #[cache_read(key = "shelf:<name>", ttl = "5m", tags = ["shelf:<name>"], skip(self))]
    pub async fn shelf(&self, name: &str) -> Result<Vec<u64>, StoreError> {
        self.store.shelf(name)
    }

    /// Changes a price: for everybody who asks from now on.
    ///
    /// # Errors
    ///
    /// The database does not answer, or there is no such article.
    #[cache_write(tags = ["article:<id>", "shelf:<result.shelf>"])]
    pub async fn set_price(&self, id: u64, cents: u64) -> Result<Article, StoreError> {
        self.store.set_price(id, cents)
    }
}
