//! Forms that an expansion could trip over.
use super::{DbError, Source, assert_send, cache_read, cache_write, memoize};
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Item {
    id: u64,
}

impl Item {
    /// `Self` in the return type.
    #[cache_read(key = "item:<id>", companion = method)]
    pub async fn load(id: u64) -> Result<Option<Self>, DbError> {
        Ok(Some(Self { id }))
    }
}

pub struct Typed<T> {
    value: T,
}

impl<T: Clone + Send + Sync + serde::Serialize + serde::de::DeserializeOwned + 'static> Typed<T> {
    /// A type parameter of the `impl`.
    #[cache_read(key = "typed:<id>", skip(self))]
    pub async fn load(&self, id: u64) -> Result<Vec<T>, DbError> {
        let _ = id;
        Ok(vec![self.value.clone()])
    }
}

pub trait Calc {
    fn twice(&self, n: u64) -> u64;
    async fn many(&mut self, ids: Vec<u64>) -> HashMap<u64, u64>;
    async fn add(&mut self, id: u64, name: String) -> Result<u64, DbError>;
    async fn sum<'a>(&self, ids: &'a [u64], by: &'a str) -> u64;
}

pub struct Sums {
    calls: u64,
}

impl Sums {
    #[cache_read(key = "sums:<id>", skip(self))]
    pub async fn one(&self, id: u64) -> u64 {
        id + self.calls
    }
}

impl Calc for Sums {
    #[memoize(skip(self), cache_if = |value| *value < 100)]
    fn twice(&self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        n * 2
    }

    #[cache_read(key = "many:<id>", each(id in ids), skip(self), bypass = self.calls > 100)]
    async fn many(&mut self, ids: Vec<u64>) -> HashMap<u64, u64> {
        self.calls += 1;
        ids.into_iter().map(|id| (id, id + 1)).collect()
    }

    #[cache_write(tags = ["sums:<id>", "x:<self.calls>:<result>"], recache = [self.one(id), self.one(name.len() as u64)])]
    async fn add(&mut self, id: u64, name: String) -> Result<u64, DbError> {
        drop(name);
        self.calls += id;
        Ok(id)
    }

    #[cache_read(key = "sum:<ids>:<by>", skip(self), bypass = by == "all")]
    async fn sum<'a>(&self, ids: &'a [u64], by: &'a str) -> u64 {
        let _ = by;
        ids.iter().sum()
    }
}

pub trait Load: Sync {
    fn get(&self, id: u64) -> u64;
}

impl Load for Source {
    fn get(&self, id: u64) -> u64 {
        self.next() + id
    }
}

#[cache_read(key = "dyn:<id>", skip(db, _hint))]
async fn dynamic(db: &dyn Load, #[allow(unused)] _hint: Option<&'_ str>, id: u64) -> u64 {
    db.get(id)
}

#[cache_read(key = "constant")]
async fn constant() -> u64 {
    7
}

#[cache_read(key = "array:<xs>", skip(T))]
async fn array<T, const N: usize>(xs: [T; N]) -> u64
where
    T: cache_runtime::KeyPart + Send + Sync,
{
    let _ = xs;
    N as u64
}

/// Both attributes on one function: the read is outside.
#[cache_read(key = "both:<id>")]
#[cache_write(tags = ["both-written"])]
async fn both(id: u64) -> Result<u64, DbError> {
    Ok(id)
}

#[cache_read(key = "hosts:<host:lower>:<body:hash>:<body:len>:<0:upper>:<at:display>")]
async fn modifiers(host: &str, body: Vec<u8>, at: f64) -> u64 {
    let _ = (host, at);
    body.len() as u64
}

#[cache_read(key = "nobody:<id>")]
async fn diverges(id: u64) -> Result<u64, DbError> {
    if id > 0 {
        return Err(DbError("always"));
    }
    unreachable!()
}

fn by_hand(id: u64) -> std::pin::Pin<Box<dyn Future<Output = u64> + Send>> {
    boxed(id)
}

#[cache_read(key = "by-hand:<id>")]
fn boxed(id: u64) -> std::pin::Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move { if id == 0 { 0 } else { by_hand(id - 1).await + 1 } })
}

#[cache_read(key = "maybe:<id>", ttl_none = "0s")]
async fn maybe(id: u64) -> Option<Arc<String>> {
    (id > 0).then(|| Arc::new("x".to_owned()))
}

/// A1: all of them run, and their futures are `Send` where the body's is.
#[tokio::test]
async fn corner_forms() {
    super::in_test_cache(async {
        assert_eq!(Item::load(1).await.unwrap().unwrap().id, 1);
        assert_eq!(Item::load_entry(1).peek().await.unwrap().unwrap().id, 1);
        let typed = Typed { value: 3u64 };
        assert_eq!(assert_send(typed.load(1)).await.unwrap(), [3]);
        typed.load_entry(1).put(vec![4]).await.unwrap();
        assert_eq!(typed.load(1).await.unwrap(), [4]);
        let mut sums = Sums { calls: 0 };
        assert_eq!((sums.twice(0), sums.twice(4), sums.twice(4)), (0, 8, 8));
        assert_eq!(sums.many(vec![1, 2]).await[&2], 3);
        assert_eq!(sums.many(vec![1, 2]).await[&2], 3);
        assert_eq!(sums.calls, 1);
        assert_eq!(sums.one(5).await, 6);
        sums.add(5, "abc".to_owned()).await.unwrap();
        assert_eq!(sums.one(5).await, 11);
        assert_eq!(sums.one(3).await, 9);
        assert_eq!(sums.sum(&[1, 2], "x").await, 3);
        assert_eq!(sums.sum(&[1, 2], "all").await, 3);
        let db = Source::default();
        assert_eq!(assert_send(dynamic(&db, None, 1)).await, 2);
        assert_eq!(dynamic(&db, Some("x"), 1).await, 2);
        assert_eq!(dynamic::refresh(&db, None, 1).await, 3);
        dynamic::warm([5u64], |id| (&db as &dyn Load, None, id)).await;
        assert_eq!(constant().await, 7);
        constant::invalidate().await.unwrap();
        assert_eq!(array([1u64, 2]).await, 2);
        assert_eq!(array([1u64, 2, 3]).await, 3);
        assert_eq!(both(3).await, Ok(3));
        assert_eq!(modifiers("HOST", vec![1], 1.5).await, 1);
        assert_eq!(diverges(1).await, Err(DbError("always")));
        assert_eq!(boxed(5).await, 5);
        assert_eq!(boxed::refresh(5).await, 5);
        assert_eq!(maybe(0).await, None);
        assert_eq!(maybe(1).await.as_deref().map(String::as_str), Some("x"));
    })
    .await;
}
