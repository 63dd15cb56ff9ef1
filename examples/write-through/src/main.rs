//! A write whose result is the next read: `put` stores what the write returned, so nobody has to ask the database for it.
//!
//! ```sh
//! cargo run -p write-through
//! ```
//!
//! Beside it, what `put` is not for: values that are *derived* from what was written are loaded again by `recache`.

use std::collections::BTreeMap;
use std::sync::Mutex;

use cache_runtime::{cache_read, cache_write};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct User {
    id: u64,
    team: String,
    name: String,
}

#[derive(Debug)]
struct DbError(&'static str);

impl std::fmt::Display for DbError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// A table of users that says which queries it gets.
#[derive(Default)]
struct Db {
    rows: Mutex<BTreeMap<u64, User>>,
}

impl Db {
    async fn select(&self, id: u64) -> Result<Option<User>, DbError> {
        println!("    SELECT * FROM users WHERE id = {id}");
        Ok(self.rows.lock().map_err(|_| DbError("broken"))?.get(&id).cloned())
    }

    async fn names(&self, team: &str) -> Result<Vec<String>, DbError> {
        println!("    SELECT name FROM users WHERE team = '{team}'");
        let rows = self.rows.lock().map_err(|_| DbError("broken"))?;
        Ok(rows.values().filter(|user| user.team == team).map(|user| user.name.clone()).collect())
    }

    async fn insert(&self, team: &str, name: &str) -> Result<User, DbError> {
        let mut rows = self.rows.lock().map_err(|_| DbError("broken"))?;
        let user = User { id: 1 + rows.len() as u64, team: team.to_owned(), name: name.to_owned() };
        println!("    INSERT INTO users … RETURNING {user:?}");
        rows.insert(user.id, user.clone());
        Ok(user)
    }

    async fn rename(&self, id: u64, name: &str) -> Result<User, DbError> {
        let mut rows = self.rows.lock().map_err(|_| DbError("broken"))?;
        if name.is_empty() {
            return Err(DbError("a name must not be empty"));
        }
        let user = rows.get_mut(&id).ok_or(DbError("no such user"))?;
        name.clone_into(&mut user.name);
        println!("    UPDATE users … RETURNING {user:?}");
        Ok(user.clone())
    }
}

#[cache_read(key = "user:<id>", ttl = "5m", skip(db))]
async fn get_user(db: &Db, id: u64) -> Result<Option<User>, DbError> {
    db.select(id).await
}

#[cache_read(key = "team:<team>:names", ttl = "5m", tags = ["team:<team>"], skip(db))]
async fn team_names(db: &Db, team: &str) -> Result<Vec<String>, DbError> {
    db.names(team).await
}

/// The id is known only from the result. What was kept under it, an absence perhaps, is replaced.
#[cache_write(put = get_user(result.id), tags = ["team:<team>"])]
async fn add_user(db: &Db, team: &str, name: &str) -> Result<User, DbError> {
    db.insert(team, name).await
}

/// The result becomes the entry `user:<id>`; the list of the team, which holds the name too, is loaded again.
#[cache_write(put = get_user(id), tags = ["team:<result.team>"], recache = [team_names(db, &result.team)])]
async fn rename(db: &Db, id: u64, name: &str) -> Result<User, DbError> {
    db.rename(id, name).await
}

#[tokio::main]
async fn main() -> Result<(), DbError> {
    let db = Db::default();

    println!("user 1: not there, and that is known from now on");
    println!("  = {:?}", get_user(&db, 1).await?);

    println!("a new user");
    add_user(&db, "blue", "Ada").await?;
    println!("user 1: no query");
    println!("  = {:?}", get_user(&db, 1).await?);

    println!("user 1 is renamed, and its team's list is loaded again at once");
    rename(&db, 1, "Grace").await?;
    println!("user 1 and its team: no query");
    println!("  = {:?}, {:?}", get_user(&db, 1).await?, team_names(&db, "blue").await?);

    println!("a write that fails stores nothing, and nothing becomes invalid");
    if let Err(error) = rename(&db, 1, "").await {
        println!("  = error: {error}");
    }
    println!("  = {:?}", get_user(&db, 1).await?);
    Ok(())
}
