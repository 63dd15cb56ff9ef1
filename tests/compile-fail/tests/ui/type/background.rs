use cache_runtime::{Error, cache_read};

struct Db;

#[derive(Clone)]
struct View<'a>(&'a str);

#[cache_read(key = "a:<id>", ttl = "5m", stale = "1m", skip(db))]
async fn not_clone(db: &Db, id: u64) -> u64 {
    let _ = db;
    id
}

#[cache_read(key = "b:<id>", ttl = "5m", early_ttl = "1m", skip(view))]
async fn borrowed(view: View<'_>, id: u64) -> u64 {
    view.0.len() as u64 + id
}

#[cache_read(key = "f:<id>", ttl = "5m", stale = "1m", skip(maybe))]
async fn inside(maybe: Option<&str>, id: u64) -> u64 {
    maybe.map_or(id, |text| text.len() as u64)
}

#[cache_read(key = "g:<name>", ttl = "5m", stale = "1m", skip(of, kind))]
async fn fine(name: &'static str, of: fn(&str) -> u64, kind: Option<&'static str>) -> u64 {
    of(name) + kind.map_or(0, |kind| kind.len() as u64)
}

#[cache_read(key = "c:<id>", ttl = "5m", timeout = "1s")]
async fn no_error(id: u64) -> u64 {
    id
}

#[cache_read(key = "d:<id>", ttl = "5m", timeout = "1s", soft_timeout = "2s", stale = "1m")]
async fn order(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[cache_read(key = "h:<id>", ttl = "5m", early_ttl = "6m")]
async fn late(id: u64) -> u64 {
    id
}

struct Repo(Db);

impl Repo {
    #[cache_read(key = "e:<id>", ttl = "5m", stale = "1m", skip(self))]
    pub async fn method(&self, id: u64) -> u64 {
        let _ = &self.0;
        id
    }
}

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Incomparable(u64);

#[cache_read(key = "x:<a>", monitor = "1%")]
async fn not_comparable(a: u64) -> Result<Incomparable, std::fmt::Error> {
    Ok(Incomparable(a))
}

fn main() {}
