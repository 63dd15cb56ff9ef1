//! One entry per element: a function that takes many ids asks the database once, and only for the ids that are missing.
//!
//! ```sh
//! cargo run -p batch
//! ```
//!
//! Nothing has to be set up: without `CACHE_URL` entries are in this process' memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use cache_runtime::{cache_read, cache_write};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Product {
    id: u64,
    name: String,
    cents: u64,
}

/// What a query can fail with. Here none does.
#[derive(Debug)]
struct DbError;

/// A table of products that says which queries it gets.
struct Db {
    rows: Mutex<BTreeMap<u64, Product>>,
}

impl Db {
    fn new() -> Self {
        let product = |id| (id, Product { id, name: format!("product {id}"), cents: 100 * id });
        Self { rows: Mutex::new((1..=9).map(product).collect()) }
    }

    async fn select(&self, ids: &[u64]) -> Result<Vec<Product>, DbError> {
        println!("    SELECT * FROM products WHERE id IN ({})", list(ids));
        let rows = self.rows.lock().map_err(|_| DbError)?;
        Ok(ids.iter().filter_map(|id| rows.get(id).cloned()).collect())
    }

    async fn set_price(&self, id: u64, cents: u64) -> Result<(), DbError> {
        println!("    UPDATE products SET cents = {cents} WHERE id = {id}");
        let mut rows = self.rows.lock().map_err(|_| DbError)?;
        rows.get_mut(&id).ok_or(DbError)?.cents = cents;
        Ok(())
    }
}

/// The body gets the ids that are missing, each once. An id that is not in what it returns is known to be absent, for as
/// long as `ttl_none` says.
#[cache_read(each(id in ids), key = "product:<id>", ttl = "5m", ttl_none = "30s", skip(db))]
async fn products(db: &Db, ids: Vec<u64>) -> Result<HashMap<u64, Product>, DbError> {
    Ok(db.select(&ids).await?.into_iter().map(|product| (product.id, product)).collect())
}

/// One product: the same key and the same type, so the same entries.
#[cache_read(key = "product:<id>", ttl = "5m", ttl_none = "30s", skip(db))]
async fn product(db: &Db, id: u64) -> Result<Option<Product>, DbError> {
    Ok(db.select(&[id]).await?.pop())
}

/// Whoever has read this product, alone or among others, reads it anew.
#[cache_write(tags = ["product:<id>"])]
async fn set_price(db: &Db, id: u64, cents: u64) -> Result<(), DbError> {
    db.set_price(id, cents).await
}

fn list(ids: &[u64]) -> String {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

fn prices(products: &HashMap<u64, Product>) -> String {
    let by_id: BTreeMap<_, _> = products.iter().collect();
    by_id.values().map(|product| format!("{} costs {}", product.name, product.cents)).collect::<Vec<_>>().join(", ")
}

#[tokio::main]
async fn main() -> Result<(), DbError> {
    let db = Db::new();

    println!("products 1, 2, 3: nothing is known");
    println!("  = {}", prices(&products(&db, vec![1, 2, 3]).await?));

    println!("products 2, 3, 4, 99, and 4 once more: only what is missing is asked for");
    println!("  = {}", prices(&products(&db, vec![2, 3, 4, 99, 4]).await?));

    println!("products 1, 4, 99: all of it is known, that there is no 99 too");
    println!("  = {}", prices(&products(&db, vec![1, 4, 99]).await?));

    println!("product 2 alone: the same entry");
    println!("  = {:?}", product(&db, 2).await?.map(|product| product.name));

    println!("a new price for product 2");
    set_price(&db, 2, 5).await?;

    println!("products 1, 2, 3: that one is read again, and no other");
    println!("  = {}", prices(&products(&db, vec![1, 2, 3]).await?));

    println!("{}", products::stats());
    Ok(())
}
