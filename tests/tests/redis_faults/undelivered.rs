//! Invalidations that could not be delivered.

use super::*;

/// A writer behind a proxy and a reader beside it, on one server. Both have row 1.
struct Pair {
    a: Arc<Place>,
    b: Arc<Place>,
    source: Arc<Source>,
    proxy: Proxy,
}

impl Pair {
    async fn new() -> Self {
        let server = fleet::server().await;
        let (source, prefix, proxy) = (Arc::default(), fleet::prefix(), Proxy::start(server.addr()));
        let a = place(&format!("redis://{}", proxy.addr()), &prefix, &source).await;
        let b = place(&server.url(), &prefix, &source).await;
        until_hit("before", &a, 1, 0).await;
        until_hit("before", &b, 1, 0).await;
        Self { a, b, source, proxy }
    }

    /// The network is there again, and everybody sees this version.
    async fn back(&self, version: u64) {
        self.proxy.heal();
        until_hit("in the writer", &self.a, 1, version).await;
        assert_eq!(self.a.cache.stats().undelivered, 0);
        assert_eq!(row(&self.b, 1).await.version, version, "the reader, once the writer reads from the server");
    }
}

/// P5
#[tokio::test]
async fn an_invalidation_during_an_outage_is_kept_and_delivered_before_the_writer_reads_again() {
    let pair = Pair::new().await;
    away(&pair.proxy);
    write(&pair.a, 1).await;
    let stats = pair.a.cache.stats();
    assert!(stats.undelivered > 0 && stats.undelivered_total > 0, "{stats:?}");
    assert_eq!(row(&pair.a, 1).await.version, 1);
    assert_eq!(row(&pair.b, 1).await.version, 0, "nobody could tell it; else this test shows nothing");
    pair.back(1).await;
}

/// P5: without anybody reading in the process that wrote.
#[tokio::test]
async fn an_invalidation_that_was_kept_is_delivered_by_itself() {
    let pair = Pair::new().await;
    away(&pair.proxy);
    write(&pair.a, 1).await;
    pair.proxy.heal();
    eventually("the reader sees the write", LONG, async || row(&pair.b, 1).await.version == 1).await;
}

/// P5: direct calls fail, and what they invalidate is kept all the same.
#[tokio::test]
async fn a_direct_invalidation_that_failed_is_delivered_later() {
    let pair = Pair::new().await;
    away(&pair.proxy);
    pair.source.commit(1);
    assert_eq!(pair.a.cache.invalidate("group:1").await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(row(&pair.a, 1).await.version, 1);
    pair.back(1).await;
}

/// P5
#[tokio::test]
async fn a_pattern_that_could_not_be_delivered_is_delivered_later() {
    let pair = Pair::new().await;
    away(&pair.proxy);
    pair.source.commit(1);
    assert_eq!(pair.a.cache.delete_match("row:*").await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(row(&pair.a, 1).await.version, 1);
    pair.back(1).await;
}

/// P5: what is too much to be kept becomes an invalidation of everything.
#[tokio::test]
async fn too_many_invalidations_become_one_of_everything() {
    let pair = Pair::new().await;
    until_hit("before", &pair.b, 2, 0).await;
    pair.b.cache.set("n", 1_u64).await.unwrap();
    away(&pair.proxy);
    write(&pair.a, 1).await;
    let tags: Vec<String> = (0..10_001).map(|n| format!("other:{n}")).collect();
    assert_eq!(pair.a.cache.invalidate(tags).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!((1..10).contains(&pair.a.cache.stats().undelivered), "{}", pair.a.cache.stats().undelivered);
    let loads = pair.source.loads(2);
    pair.back(1).await;
    row(&pair.b, 2).await;
    assert_eq!(pair.source.loads(2), loads + 1, "nobody named row 2");
    assert_eq!(pair.b.cache.get::<u64>("n").await.unwrap(), None);
}

/// P5, B4: also a write-through that began before, and that could only watch whether anything at all was invalidated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_through_that_too_many_invalidations_overtook_is_not_kept() {
    let pair = Pair::new().await;
    let gate = Gate::new();
    let slow = tokio::spawn({
        let (b, gate) = (Arc::clone(&pair.b), Arc::clone(&gate));
        async move { write_late(&b, &gate, 1).await }
    });
    gate.in_body().await;
    gate.commit().await;
    away(&pair.proxy);
    write(&pair.a, 1).await;
    let tags: Vec<String> = (0..10_001).map(|n| format!("other:{n}")).collect();
    assert_eq!(pair.a.cache.invalidate(tags).await.unwrap_err().kind(), ErrorKind::Unavailable);
    pair.proxy.heal();
    eventually("everything is delivered", LONG, async || pair.a.cache.stats().undelivered == 0).await;
    gate.let_go();
    assert_eq!(fleet::ended("the write-through", slow).await.version, 1, "what it wrote");
    assert_eq!((row(&pair.a, 1).await.version, row(&pair.b, 1).await.version), (2, 2));
}

/// P4: who asks for errors gets them.
#[tokio::test]
async fn functions_that_are_to_fail_fail_and_their_invalidations_are_kept() {
    let pair = Pair::new().await;
    assert_eq!(strict(&pair.a, 1).await.unwrap().version, 0);
    away(&pair.proxy);
    let loads = pair.source.loads(1);
    assert_eq!(strict(&pair.a, 1).await.unwrap_err().0, ErrorKind::Unavailable);
    assert_eq!(pair.source.loads(1), loads, "the source is not asked");
    assert_eq!(strict_write(&pair.a, 1).await.unwrap_err().0, ErrorKind::Unavailable);
    assert_eq!(pair.source.now(1).version, 1, "the body ran");
    assert_eq!(strict(&pair.a, 1).await.unwrap_err().0, ErrorKind::Unavailable);
    pair.back(1).await;
    assert_eq!(strict(&pair.a, 1).await.unwrap().version, 1);
    assert_eq!(strict_write(&pair.a, 1).await.unwrap().version, 2);
    assert_eq!(row(&pair.b, 1).await.version, 2);
}

/// P5
#[tokio::test]
async fn a_write_whose_caller_goes_away_while_its_invalidation_is_on_its_way_still_invalidates() {
    let pair = Pair::new().await;
    pair.proxy.drop_to_server();
    let sent = pair.proxy.bytes_to_server();
    let writer = Arc::clone(&pair.a);
    let call = tokio::spawn(async move { write(&writer, 1).await });
    fleet::soon("the body and what it sends", || {
        pair.source.now(1).version == 1 && pair.proxy.bytes_to_server() > sent
    })
    .await;
    call.abort();
    assert!(call.await.is_err(), "it waited for the server");
    assert!(pair.a.cache.stats().undelivered > 0);
    assert_eq!(row(&pair.b, 1).await.version, 0, "it was lost; else this test shows nothing");
    pair.back(1).await;
}

/// P5
#[tokio::test]
async fn closing_delivers_what_was_kept_or_says_that_it_could_not() {
    let pair = Pair::new().await;
    away(&pair.proxy);
    write(&pair.a, 1).await;
    let error = quick("closing", pair.a.cache.close()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);

    let pair = Pair::new().await;
    pair.proxy.corrupt_answers_to("EVAL", cache_tests::redis::Corrupt::Reset, 2);
    write(&pair.a, 1).await;
    pair.a.cache.close().await.unwrap();
    assert_eq!(row(&pair.b, 1).await.version, 1);
}

/// P4: a caller that goes away leaves an invalidation behind, which is delivered a moment later. Nobody fails for it.
#[tokio::test]
async fn a_caller_that_goes_away_fails_no_direct_call_of_others() {
    let pair = Pair::new().await;
    pair.a.cache.set("n", 7_u64).await.unwrap();
    pair.proxy.delay(Duration::from_millis(100));
    for version in 1..=3 {
        let writer = Arc::clone(&pair.a);
        let call = tokio::spawn(async move { write(&writer, 1).await });
        fleet::soon("the body", || pair.source.now(1).version == version).await;
        tokio::task::yield_now().await;
        call.abort();
        assert!(call.await.is_err(), "it waited for the server");
        assert!(pair.a.cache.stats().undelivered > 0, "or this test shows nothing");
        assert_eq!(pair.a.cache.get::<u64>("n").await.unwrap(), Some(7));
        assert!(pair.a.cache.exists("n").await.unwrap());
    }
    // Only for the first attempt, and where there is hope.
    away(&pair.proxy);
    write(&pair.a, 1).await;
    let begun = fleet::now();
    for _ in 0..20 {
        assert_eq!(pair.a.cache.get::<u64>("n").await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    pair.proxy.delay(Duration::ZERO);
    pair.back(4).await;
}
