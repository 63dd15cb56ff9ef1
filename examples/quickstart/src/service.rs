//! The service: what the program asks of its database, with the attributes that cache it. **Read this file first.**
//!
//! There is no other cache code: no keys built by hand, no `get` and `set`, nothing to call after a write.

use std::collections::HashMap;
use std::sync::Arc;

use cache_runtime::{cache_read, cache_write, memoize, resource};

use crate::db::{Db, DbError, Moved, Overview, User};

/// A user's page. It shows the organisation's name, so it is tagged with the organisation that the *result* names: when
/// that changes, the pages of all its users are out of date, and nobody had to list them.
#[cache_read(key = "user:<user_id>", ttl = "5m", tags = ["user:<user_id>", "org:<result.org_id>"], skip(db))]
pub(crate) async fn get_user(db: &Db, user_id: u64) -> Result<Option<Arc<User>>, DbError> {
    Ok(db.user(user_id).await?.map(Arc::new))
}

/// Several users' pages: one entry each, and the same ones as `get_user`'s. The body runs once, with those that are
/// missing only.
#[cache_read(each(user_id in user_ids), key = "user:<user_id>", ttl = "5m",
             tags = ["user:<user_id>", "org:<result.org_id>"], skip(db))]
pub(crate) async fn get_users(db: &Db, user_ids: Vec<u64>) -> Result<HashMap<u64, Arc<User>>, DbError> {
    Ok(db.users(user_ids).await?.into_iter().map(|(id, user)| (id, Arc::new(user))).collect())
}

/// After the write, the user's page is loaded again at once: the next reader finds it.
#[cache_write(tags = ["user:<user_id>"], recache = [get_user(db, user_id)])]
pub(crate) async fn rename_user(db: &Db, user_id: u64, name: String) -> Result<u64, DbError> {
    db.rename_user(user_id, name).await
}

/// Which organisation the user leaves is known only afterwards: tags of a write may read its result, too.
#[cache_write(tags = ["user:<user_id>", "org:<result.left.id>", "org:<result.joined.id>"],
              recache = [get_user(db, user_id)])]
pub(crate) async fn move_user(db: &Db, user_id: u64, org_id: u64) -> Result<Moved, DbError> {
    db.move_user(user_id, org_id).await
}

/// The front page's list, a query over every order. Nothing invalidates it: it may be a second old.
#[memoize(ttl = "1s", skip(db))]
pub(crate) async fn top_orgs(db: &Db, limit: u32) -> Result<Arc<Vec<Overview>>, DbError> {
    Ok(Arc::new(db.top_orgs(limit).await?))
}

// A resource is a key and a tag whose name and type the compiler checks.
resource! { pub(crate) org("org", org_id: u64); }

/// Methods are annotated like functions.
#[derive(Clone)]
pub(crate) struct Orgs {
    pub(crate) db: Db,
}

impl Orgs {
    /// Key `org:overview:<org_id>`, tag `org:<org_id>`.
    #[cache_read(resource = org(org_id), suffix = "overview", ttl = "5m", skip(self))]
    pub(crate) async fn overview(&self, org_id: u64) -> Result<Option<Arc<Overview>>, DbError> {
        Ok(self.db.overview(org_id).await?.map(Arc::new))
    }

    /// Makes the overview and the pages of all the organisation's users invalid, however many they are.
    #[cache_write(resource = org(org_id), recache = [self.overview(org_id)])]
    pub(crate) async fn rename(&self, org_id: u64, name: String) -> Result<u64, DbError> {
        self.db.rename_org(org_id, name).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Size;

    /// One assertion finds misspelt tags and keys that meet.
    #[test]
    fn annotations_fit_together() {
        let problems = cache_runtime::catalogue().problems();
        assert!(problems.is_empty(), "{problems}");
    }

    /// A cache of its own for each test.
    #[tokio::test]
    async fn renaming_an_organisation_changes_its_users_pages() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let db = Db::create(folder.path().join("test.db"), Size::of(25), 1).await?;
        let cache = cache_runtime::Cache::for_test();
        cache
            .scope(async {
                get_user(&db, 7).await?;
                Orgs { db: db.clone() }.rename(0, "Lighthouse".to_owned()).await?;
                let user = get_user(&db, 7).await?.ok_or("no user 7")?;
                assert_eq!(user.org_name, "Lighthouse");

                let queries = db.queries();
                let users = get_users(&db, vec![7, 8, 9]).await?;
                assert_eq!((users.len(), db.queries()), (3, queries + 1), "7 is in the cache, 8 and 9 are one query");
                get_users(&db, vec![7, 8, 9]).await?;
                assert_eq!(db.queries(), queries + 1);
                Ok(())
            })
            .await
    }
}
