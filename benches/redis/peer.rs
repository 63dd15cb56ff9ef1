//! Peers that keep values on Redis.

use cache_tests::redis::Server;

use crate::measure::Case;

pub(crate) async fn cases(_server: &Server, _size: usize) -> Vec<Case> {
    Vec::new()
}
