//! A1: types with references inside, for which a companion names lifetimes.
use super::{Source, cache_read, cache_write, memoize};
use std::borrow::Cow;

pub struct Ctx<'c> {
    pub calls: &'c Source,
}

pub struct Pair<'a, 'b: 'a> {
    pub left: &'a Source,
    pub right: &'a &'b str,
}

pub trait Named: Sync {
    fn name(&self) -> &str;
}

impl Named for String {
    fn name(&self) -> &str {
        self
    }
}

#[memoize(skip(calls))]
fn deep(calls: &Source, names: &[&[&str]], one: Option<&str>, other: &Option<&str>, pair: (&str, &[&u8])) -> u64 {
    let _ = (names, one, other, pair);
    calls.next()
}

#[cache_read(key = "nested:<text>:<parts>", skip(ctx))]
async fn texts(ctx: Ctx<'_>, text: Cow<'_, str>, parts: Vec<&[&str]>) -> u64 {
    let _ = (text, parts);
    ctx.calls.next()
}

#[cache_read(key = "named:<list>:<n>", skip(pair, cow))]
async fn named<'a, 'b>(pair: &Pair<'a, 'b>, cow: &Cow<'_, [&'b str]>, list: &'a [&str], n: u64) -> u64 {
    let _ = (list, n, cow, pair.right);
    pair.left.next()
}

#[cache_read(key = "elided:<n>", skip(pair))]
async fn elided(pair: &mut Pair<'_, '_>, n: u64) -> u64 {
    n + pair.left.next()
}

#[cache_read(key = "dyn:<n>", skip(who, convert))]
async fn dynamic(who: &dyn Named, convert: &(dyn Fn(&str) -> &str + Sync), n: u64) -> String {
    format!("{}{n}", convert(who.name()))
}

#[cache_read(key = "closure:<n>", skip(convert))]
async fn closure(convert: &(impl Fn(&str) -> &str + Sync), n: u64) -> String {
    format!("{}{n}", convert("x"))
}

#[cache_read(key = "generic:<T>:<value>", skip(list, boxed))]
async fn generic<T>(list: &[&T], boxed: Box<dyn for<'x> Fn(&'x T) -> &'x T + Send + Sync + '_>, value: &T) -> u64
where
    T: cache_runtime::KeyPart + Sync,
{
    let _ = (boxed, value);
    list.len() as u64
}

#[cache_write(tags = ["nested"], recache = [texts(Ctx { calls: ctx.calls }, text.as_ref().into(), vec![parts])])]
async fn write(ctx: &mut Ctx<'_>, text: &Cow<'_, str>, parts: &[&str]) -> u64 {
    ctx.calls.next()
}

/// A1: they compile, are told apart, and can be warmed.
#[tokio::test]
async fn references_within_parameters() {
    super::in_test_cache(async {
        let calls = Source::default();
        let (a, b): (&[&str], &[&str]) = (&["a", "b"], &["c"]);
        assert_eq!(deep(&calls, &[a, b], None, &Some("x"), ("", &[&1])), 1);
        assert_eq!(deep(&calls, &[a, b], None, &Some("x"), ("", &[&1])), 1);
        assert_eq!(deep(&calls, &[b, a], None, &Some("x"), ("", &[&1])), 2);
        assert_eq!(texts(Ctx { calls: &calls }, "t".into(), vec![a]).await, 3);
        assert_eq!(texts(Ctx { calls: &calls }, "t".into(), vec![a]).await, 3);
        assert_eq!(write(&mut Ctx { calls: &calls }, &"t".into(), a).await, 4);
        assert_eq!(texts(Ctx { calls: &calls }, "t".into(), vec![a]).await, 5);
        let pair = &mut Pair { left: &calls, right: &"r" };
        assert_eq!(named(pair, &a.into(), b, 1).await, 6);
        assert_eq!(named(pair, &a.into(), b, 1).await, 6);
        assert_eq!(elided(pair, 1).await, 8);
        assert_eq!(elided(pair, 1).await, 8);
        assert_eq!(dynamic(&"n".to_owned(), &|x| x, 1).await, "n1");
        assert_eq!(closure(&|x: &str| -> &str { x }, 1).await, "x1");
        assert_eq!(generic(&[&1u64], Box::new(|x| x), &1).await, 1);
        let warmed = texts::warm(["u", "v"], |text| (Ctx { calls: &calls }, text.into(), vec![a])).await;
        assert_eq!((warmed.done, calls.next()), (2, 10));
    })
    .await;
}
