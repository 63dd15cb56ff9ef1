//! `on_error = fail`.
use super::{cache_read, cache_write};

#[derive(Debug, Clone)]
struct Failure;

impl From<cache_runtime::Error> for Failure {
    fn from(_: cache_runtime::Error) -> Self {
        Self
    }
}

#[cache_read(key = "failing:<id>", on_error = fail)]
async fn read(id: u64) -> Result<Option<u64>, Failure> {
    Ok(Some(id))
}

#[cache_write(tags = ["failing:<id>"], put = read(id), on_error = fail)]
async fn write(id: u64) -> Result<u64, Failure> {
    Ok(id + 1)
}

/// P4: where the error can be carried, the forms compile and work.
#[tokio::test]
async fn functions_that_can_fail() {
    super::in_test_cache(async {
        assert_eq!(read(1).await.unwrap(), Some(1));
        write(1).await.unwrap();
        assert_eq!(read(1).await.unwrap(), Some(2));
    })
    .await;
}
