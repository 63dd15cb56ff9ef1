//! The proxy: what it counts, and what it does to what passes.

use super::*;

async fn proxied() -> (Server, Proxy, MultiplexedConnection) {
    let server = Server::start().await;
    let proxy = Proxy::start(server.addr());
    let client = connect(proxy.url()).await.unwrap();
    proxy.reset();
    (server, proxy, client)
}

fn counted(proxy: &Proxy) -> (u64, Vec<(String, u64)>) {
    (proxy.round_trips(), proxy.commands().into_iter().collect())
}

fn of(name: &str, count: u64) -> (String, u64) {
    (name.to_owned(), count)
}

#[tokio::test]
async fn a_pipeline_is_one_round_trip() {
    let (_server, proxy, mut client) = proxied().await;
    let mut pipe = redis::pipe();
    for key in 0..100 {
        pipe.set(key, key).get(key);
    }
    let _: () = pipe.query_async(&mut client).await.unwrap();
    assert_eq!(counted(&proxy), (1, vec![of("GET", 100), of("SET", 100)]));
    proxy.reset();
    run(&mut client, "MGET 1 2 3").await.unwrap();
    assert_eq!(counted(&proxy), (1, vec![of("MGET", 1)]));
    assert_eq!((proxy.bytes_to_server(), proxy.bytes_to_client()), (35, 25));
}

#[tokio::test]
async fn large_pipelines_and_answers_count_once() {
    let (_server, proxy, mut client) = proxied().await;
    let value = "x".repeat(1000);
    let mut pipe = redis::pipe();
    for key in 0..100 {
        pipe.set(key, &value);
    }
    let _: () = pipe.query_async(&mut client).await.unwrap();
    assert_eq!(counted(&proxy), (1, vec![of("SET", 100)]));
    server_values(&mut client).await;
    assert_eq!(proxy.round_trips(), 2);
}

async fn server_values(client: &mut MultiplexedConnection) {
    let mut all = cmd("MGET");
    for key in 0..100 {
        all.arg(key);
    }
    let values: Vec<String> = all.query_async(client).await.unwrap();
    assert!(values.iter().all(|value| value.len() == 1000));
}

#[tokio::test]
async fn round_trips_of_all_connections_add_up() {
    let (_server, proxy, mut client) = proxied().await;
    for _ in 0..5 {
        run(&mut client, "PING").await.unwrap();
    }
    assert_eq!(counted(&proxy), (5, vec![of("PING", 5)]));
    let mut other = connect(proxy.url()).await.unwrap();
    assert!(proxy.count("CLIENT") > 0, "setting up a connection shows: {:?}", proxy.commands());
    assert_eq!(proxy.connections(), 1, "since the last reset");
    proxy.reset();
    run(&mut client, "PING").await.unwrap();
    run(&mut other, "PING").await.unwrap();
    assert_eq!(counted(&proxy), (2, vec![of("PING", 2)]));
}

#[tokio::test]
async fn messages_are_no_round_trips() {
    let (server, proxy, _client) = proxied().await;
    let (sender, mut pushes) = tokio::sync::mpsc::unbounded_channel();
    let client = Client::open(format!("{}?protocol=resp3", proxy.url())).unwrap();
    let config = AsyncConnectionConfig::new().set_push_sender(sender);
    let mut client = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
    proxy.reset();
    client.subscribe(&["a", "b"]).await.unwrap();
    for _ in 0..3 {
        server.command(&["PUBLISH", "a", "message"]).await;
    }
    // Two confirmations and three messages.
    for _ in 0..5 {
        timeout(LONG, pushes.recv()).await.unwrap().unwrap();
    }
    assert_eq!(counted(&proxy), (1, vec![of("SUBSCRIBE", 1)]));
    run(&mut client, "PING").await.unwrap();
    assert_eq!(proxy.round_trips(), 2);
}

#[tokio::test]
async fn delays_are_felt_once_a_round_trip() {
    let (_server, proxy, mut client) = proxied().await;
    proxy.delay(Duration::from_secs(2));
    let mut pipe = redis::pipe();
    for key in 0..50 {
        pipe.get(key);
    }
    let mut slow = Box::pin(pipe.query_async::<Value>(&mut client));
    assert!(timeout(Duration::from_secs(1), &mut slow).await.is_err(), "it came at once");
    timeout(LONG, slow).await.expect("fifty commands wait once").unwrap();
    proxy.heal();
    timeout(Duration::from_secs(1), run(&mut client, "PING")).await.expect("the delay has ended").unwrap();
}

#[tokio::test]
async fn what_is_lost_on_the_way_to_the_server_is_not_carried_out() {
    let (server, proxy, mut client) = proxied().await;
    proxy.drop_to_server();
    assert!(timeout(SHORT, run(&mut client, "SET a 1")).await.is_err());
    assert_eq!(server.query::<u64>(&["DBSIZE"]).await, 0);
    // The rest of a stream with a hole in it is never delivered.
    proxy.heal();
    assert!(timeout(LONG, run(&mut client, "PING")).await.unwrap().is_err());
    assert!(run(&mut connect(proxy.url()).await.unwrap(), "PING").await.is_ok());
}

#[tokio::test]
async fn what_is_lost_on_the_way_to_the_client_is_carried_out() {
    let (server, proxy, mut client) = proxied().await;
    proxy.drop_to_client();
    assert!(timeout(SHORT, run(&mut client, "SET a 1")).await.is_err());
    assert_eq!(server.query::<u64>(&["DBSIZE"]).await, 1);
    assert_eq!((proxy.count("SET"), proxy.round_trips()), (1, 0));
}

#[tokio::test]
async fn a_half_open_connection_neither_answers_nor_ends() {
    let (server, proxy, mut client) = proxied().await;
    let mut untouched = connect(proxy.url()).await.unwrap();
    proxy.half_open();
    assert!(timeout(SHORT, run(&mut client, "PING")).await.is_err());
    assert!(timeout(SHORT, connect(proxy.url())).await.is_err(), "a new connection was served");
    // Not even that the server is gone is noticed, which had something unread: its system resets the connection.
    proxy.heal();
    let mut client = connect(proxy.url()).await.unwrap();
    server.stop_signal();
    assert!(timeout(SHORT, run(&mut client, "PING")).await.is_err());
    proxy.half_open();
    server.restart(Snapshot::Discard).await;
    assert!(timeout(SHORT, run(&mut client, "PING")).await.is_err());
    proxy.heal();
    assert!(timeout(LONG, run(&mut client, "PING")).await.unwrap().is_err());
    assert!(timeout(LONG, run(&mut untouched, "PING")).await.unwrap().is_err(), "its server is gone");
    assert!(run(&mut connect(proxy.url()).await.unwrap(), "PING").await.is_ok());
}

#[tokio::test]
async fn connections_can_be_reset_and_refused() {
    let (_server, proxy, mut client) = proxied().await;
    proxy.reset_all();
    assert!(timeout(LONG, run(&mut client, "PING")).await.unwrap().is_err());
    let mut client = connect(proxy.url()).await.unwrap();

    proxy.refuse();
    let refused = tokio::net::TcpStream::connect(proxy.addr()).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(run(&mut client, "PING").await.is_ok(), "an open connection stays");

    proxy.heal();
    assert!(run(&mut client, "PING").await.is_ok());
    assert!(run(&mut connect(proxy.url()).await.unwrap(), "PING").await.is_ok());
}

#[tokio::test]
async fn an_address_moves_to_another_server() {
    let (old, proxy, mut client) = proxied().await;
    let new = Server::start().await;
    proxy.retarget(new.addr());
    run(&mut client, "SET a 1").await.unwrap();
    assert_eq!(old.query::<u64>(&["DBSIZE"]).await, 1, "an open connection stays where it is");
    run(&mut connect(proxy.url()).await.unwrap(), "SET a 1").await.unwrap();
    assert_eq!(new.query::<u64>(&["DBSIZE"]).await, 1);
}

#[tokio::test]
async fn the_next_answers_are_replaced() {
    let (server, proxy, mut client) = proxied().await;
    proxy.corrupt(Corrupt::error("LOADING not yet"), 2);
    for _ in 0..2 {
        assert_eq!(run(&mut client, "SET a 1").await.unwrap_err().code(), Some("LOADING"));
    }
    assert_eq!(server.query::<String>(&["GET", "a"]).await, "1", "the server carries it out");
    assert!(run(&mut client, "GET a").await.is_ok());

    // In a pipeline, the answer to one command only.
    proxy.corrupt_answers_to("get", Corrupt::Bytes(b"$5\r\nwrong\r\n".to_vec()), 1);
    let pipe = redis::pipe().set("a", 2).get("a").get("a").to_owned();
    let answers: Vec<String> = pipe.query_async(&mut client).await.unwrap();
    assert_eq!(answers, ["OK", "wrong", "2"]);
}

#[tokio::test]
async fn answers_become_what_no_server_says() {
    for (corrupt, code) in [
        (Corrupt::Nonsense, Some(ErrorKind::Parse)),
        (Corrupt::Reset, None),
        (Corrupt::HugeLength, None),
        (Corrupt::HugeArray, None),
    ] {
        let (_server, proxy, mut client) = proxied().await;
        proxy.corrupt(corrupt.clone(), 1);
        match timeout(SHORT, run(&mut client, "PING")).await {
            // What is announced and never comes is waited for.
            Err(_) => assert!(matches!(corrupt, Corrupt::HugeLength | Corrupt::HugeArray), "{corrupt:?}"),
            Ok(answer) => {
                let error = answer.unwrap_err();
                assert!(code.is_none_or(|code| error.kind() == code), "{corrupt:?}: {error}");
            }
        }
        assert_eq!(proxy.commands(), BTreeMap::from([of("PING", 1)]));
    }
}
