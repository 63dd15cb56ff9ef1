//! A Python script reads and invalidates what Rust has cached: values are plain JSON under names that are documented.
//!
//! ```sh
//! CACHE_URL=redis://localhost:6379 cargo run -p json-interop
//! ```
//!
//! `cache.py` needs Python 3.9 and its standard library. The names that it uses are those of `docs/guide/redis.md`.

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Mutex;

use cache_runtime::{Cache, cache_read};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct User {
    id: u64,
    name: String,
    languages: Vec<String>,
}

#[derive(Debug)]
struct NoSuchUser;

impl std::fmt::Display for NoSuchUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no such user")
    }
}

impl Error for NoSuchUser {}

/// A database that another service writes to as well.
struct Db(Mutex<BTreeMap<u64, User>>);

impl Db {
    fn new() -> Self {
        let ada = User { id: 42, name: "Ada".into(), languages: vec!["en".into(), "fr".into()] };
        Self(Mutex::new([(42, ada)].into()))
    }

    fn rows(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, User>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What another service does: nobody tells this process.
    fn rename_elsewhere(&self, id: u64, name: &str) {
        println!("sql:    UPDATE users SET name = '{name}', by another service");
        if let Some(user) = self.rows().get_mut(&id) {
            name.clone_into(&mut user.name);
        }
    }
}

/// `codec = json`: exactly the value's JSON lies under `<prefix>:<version>:user:<id>`.
#[cache_read(key = "user:<id>", ttl = "5m", tags = ["users"], codec = json, skip(db))]
async fn get_user(db: &Db, id: u64) -> Result<User, NoSuchUser> {
    println!("sql:    SELECT * FROM users WHERE id = {id}");
    db.rows().get(&id).cloned().ok_or(NoSuchUser)
}

/// Runs the script beside this file with the same `CACHE_URL`.
async fn python(words: [&str; 3]) -> Result<(), Box<dyn Error>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/cache.py");
    let output = Command::new("python3").arg(script).args(words).output().await?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().into());
    }
    println!("python: {}", String::from_utf8_lossy(&output.stdout).trim());
    Ok(())
}

async fn rust(db: &Db) -> Result<(), NoSuchUser> {
    println!("rust:   {:?}", get_user(db, 42).await?);
    Ok(())
}

async fn show(cache: &Cache) -> Result<(), Box<dyn Error>> {
    let db = Db::new();
    let prefix = cache.info().await?.prefix;
    get_user::invalidate(42).await?; // what an earlier run has left

    rust(&db).await?;
    python(["get", &prefix, "user:42"]).await?;

    db.rename_elsewhere(42, "Grace");
    rust(&db).await?; // nobody has said anything
    python(["drop", &prefix, "user:42"]).await?;
    rust(&db).await?;
    python(["get", &prefix, "user:42"]).await?;

    db.rename_elsewhere(42, "Edsger");
    python(["invalidate", &prefix, "users"]).await?;
    rust(&db).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = async {
        let cache = Cache::from_env().await?;
        cache.ping().await?;
        if cache.info().await?.server.is_none() {
            return Err("this needs a server: CACHE_URL=redis://localhost:6379 cargo run -p json-interop".into());
        }
        cache_runtime::init(cache.clone())?;
        show(&cache).await?;
        Ok::<_, Box<dyn Error>>(cache.close().await?)
    };
    match done.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
