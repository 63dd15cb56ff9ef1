//! A type parameter that could hide a `Result`.
use cache_runtime::cache_read;

#[cache_read(key = "x:<T>:<id>")]
async fn generic<T>(id: u64) -> T
where
    T: Clone + Default + Send + Sync + serde::Serialize + serde::de::DeserializeOwned + 'static,
{
    let _ = id;
    T::default()
}

struct Db;

#[cache_read(key = "list:<T>:<id>", skip(db))]
async fn list<T: Clone + Send + Sync + serde::Serialize + serde::de::DeserializeOwned + 'static>(db: &Db, id: u64) -> Vec<T> {
    let _ = (db, id);
    Vec::new()
}

fn main() {}
