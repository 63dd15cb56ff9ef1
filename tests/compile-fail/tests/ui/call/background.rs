//! Background work owns its arguments, `self` among them.
use cache_runtime::{cache_read, cache_write};

struct Db;

#[cache_read(key = "x:<id>", skip(db))]
async fn read(db: &Db, id: u64) -> u64 {
    let _ = db;
    id
}

#[cache_write(tags = ["x:<id>"], recache = [read(db, id)], recache_mode = background)]
async fn write(db: &Db, id: u64) -> Result<u64, String> {
    let _ = db;
    Ok(id)
}

struct Service(u64);

impl Service {
    #[cache_read(key = "x:<self.0>:<id>")]
    pub async fn row(&self, id: u64) -> u64 {
        id
    }

    #[cache_write(tags = ["x:<id>"], recache = [self.row(id)], recache_mode = background)]
    pub async fn rename(&self, id: u64) -> Result<u64, String> {
        Ok(id)
    }
}

fn main() {}
