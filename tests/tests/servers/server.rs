//! One server: started, stopped, killed, started again; passwords, TLS, sockets.

use super::*;

#[tokio::test]
async fn a_server_starts_empty_and_takes_commands() {
    let server = Server::start().await;
    assert_eq!(server.query::<u64>(&["DBSIZE"]).await, 0);
    server.command(&["SET".as_bytes(), b"any bytes", b"\0\xff\r\n"]).await;
    let mut client = connect(server.url()).await.unwrap();
    assert_eq!(run(&mut client, "KEYS *").await.unwrap(), Value::Array(vec![Value::BulkString(b"any bytes".into())]));
    assert_eq!(server.info("process_id").await, server.pid().to_string());
    assert_eq!(server.info("rdb_changes_since_last_save").await, "1");
}

#[tokio::test]
async fn servers_started_at_once_are_different_servers() {
    let servers: Vec<_> = (0..8).map(|_| tokio::spawn(Server::start())).collect();
    let mut ports = Vec::new();
    let mut kept = Vec::new();
    for server in servers {
        let server = server.await.unwrap();
        assert_eq!(server.info("tcp_port").await, server.port().to_string());
        ports.push(server.port());
        kept.push(server);
    }
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), kept.len());
}

#[tokio::test]
async fn a_dropped_server_leaves_no_process_and_no_folder() {
    let server = Server::start().await;
    let (folder, addr, group) = (server.folder().to_owned(), server.addr(), server.pid());
    assert_eq!(running_in(group), 2, "the server and its watchdog");
    drop(server);
    assert!(!folder.exists());
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
    nothing_runs_in(group).await;
}

#[tokio::test]
async fn a_killed_server_is_gone_with_what_it_forked() {
    let server = Server::options().config("rdb-key-save-delay 1000000").start().await;
    for key in 0..100 {
        server.command(&["SET", &key.to_string(), "1"]).await;
    }
    server.command(&["BGSAVE"]).await;
    let group = server.pid();
    assert_eq!(running_in(group), 3, "the server, its watchdog, and who saves");
    server.kill();
    assert!(!server.is_running());
    assert!(server.try_query::<Value>(&["PING"]).await.is_err());
    nothing_runs_in(group).await;
}

/// A process that started a server and is killed takes it along, also when the server cannot do anything about it.
#[tokio::test]
async fn a_server_does_not_outlive_its_test_process() {
    for stopped in [false, true] {
        let mut owner = Worker::start(WORKER).await;
        let server = owner.command("start server", Json::Null).await;
        let folder = PathBuf::from(server["folder"].as_str().unwrap());
        let group = group_of(&server);
        if stopped {
            owner.command("stop all", Json::Null).await;
        }
        assert_eq!(running_in(group), 2);
        owner.kill();
        nothing_runs_in(group).await;
        assert!(!folder.exists(), "the folder goes too");
    }
}

#[tokio::test]
async fn a_restarted_server_has_its_last_snapshot_or_nothing() {
    let server = Server::start().await;
    let (port, id) = (server.port(), server.info("run_id").await);
    server.command(&["SET", "a", "saved"]).await;
    server.save_now().await;
    server.command(&["SET", "a", "not saved"]).await;

    server.restart(Snapshot::Keep).await;
    assert_eq!(server.query::<String>(&["GET", "a"]).await, "saved");
    assert_eq!((server.port(), server.info("tcp_port").await), (port, port.to_string()));
    assert_ne!(server.info("run_id").await, id);

    server.kill();
    server.restart(Snapshot::Discard).await;
    assert_eq!(server.query::<u64>(&["DBSIZE"]).await, 0);
}

/// What another process's server answers is never taken for ours.
#[tokio::test]
#[should_panic(expected = "was taken while it was down")]
async fn a_port_that_was_taken_is_noticed() {
    let server = Server::start().await;
    server.kill();
    let _somebody = std::net::TcpListener::bind(server.addr()).unwrap();
    server.restart(Snapshot::Keep).await;
}

#[test]
fn a_server_serves_one_runtime_after_another() {
    let block_on = |future: std::pin::Pin<Box<dyn Future<Output = Server> + Send>>| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    };
    let server = block_on(Box::pin(Server::start()));
    block_on(Box::pin(async {
        server.command(&["PING"]).await;
        server.restart(Snapshot::Keep).await;
        server
    }));
}

#[tokio::test]
async fn a_stopped_server_answers_when_it_is_continued() {
    let server = Server::start().await;
    let mut client = connect(server.url()).await.unwrap();
    server.stop_signal();
    let mut ping = Box::pin(run(&mut client, "PING"));
    assert!(timeout(SHORT, &mut ping).await.is_err(), "a stopped server answered");
    assert!(server.is_running());
    server.cont_signal();
    assert!(timeout(LONG, ping).await.unwrap().is_ok());
}

#[tokio::test]
async fn passwords_and_users_hold_for_clients() {
    let password = "p:a/s@s %\"\\";
    let server = Server::options().password(password).user("alice on >wonder ~app:* +get").start().await;
    let mut anonymous = connect(format!("redis://{}", server.addr())).await.unwrap();
    assert_eq!(run(&mut anonymous, "PING").await.unwrap_err().code(), Some("NOAUTH"));
    assert!(run(&mut connect(server.url()).await.unwrap(), "SET app:1 x").await.is_ok());

    let mut alice = connect(server.url_as("alice", "wonder")).await.unwrap();
    assert!(run(&mut alice, "GET app:1").await.is_ok());
    for denied in ["GET other", "SET app:1 y"] {
        let error = run(&mut alice, denied).await.unwrap_err();
        assert_eq!(error.code(), Some("NOPERM"), "{denied}: {error}");
    }
}

#[tokio::test]
async fn a_full_server_evicts_or_refuses() {
    let value = "x".repeat(100_000);
    for (policy, evicts) in [("allkeys-lru", true), ("noeviction", false)] {
        let server = Server::options().maxmemory("4mb", policy).start().await;
        let mut refused = 0;
        for key in 0..60 {
            let set = server.try_query::<Value>(&["SET", &key.to_string(), &value]).await;
            refused += u32::from(set.is_err_and(|error| error.code() == Some("OOM")));
        }
        let evicted: u64 = server.info("evicted_keys").await.parse().unwrap();
        assert_eq!((evicted > 0, refused > 0), (evicts, !evicts), "{policy}: {evicted} evicted, {refused} refused");
    }
}

#[tokio::test]
async fn a_server_on_a_socket_has_no_port() {
    let server = Server::options().unix().start().await;
    assert!(tokio::net::TcpStream::connect(server.addr()).await.is_err());
    assert!(server.url().starts_with("unix:///"), "{}", server.url());
    assert!(run(&mut connect(server.url()).await.unwrap(), "PING").await.is_ok());
}

fn tls_client(server: &Server, with_certificate: bool) -> Client {
    // What rustls encrypts with is chosen once in a process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client_tls = with_certificate.then(|| redis::ClientTlsConfig {
        client_cert: fs::read(server.tls_cert()).unwrap(),
        client_key: fs::read(server.tls_key()).unwrap(),
    });
    let certificates = TlsCertificates { client_tls, root_cert: Some(fs::read(server.tls_ca()).unwrap()) };
    Client::build_with_tls(server.url(), certificates).unwrap()
}

async fn speaks_tls(server: &Server, with_certificate: bool) -> bool {
    match connect_to(tls_client(server, with_certificate)).await {
        Ok(mut connection) => run(&mut connection, "PING").await.is_ok(),
        Err(_) => false,
    }
}

#[tokio::test]
async fn tls_works_with_our_authority_only() {
    let server = Server::options().tls().start().await;
    assert!(server.url().starts_with("rediss://"));
    assert!(speaks_tls(&server, false).await);
    assert!(speaks_tls(&server, true).await);

    let other = Server::options().tls().start().await;
    let wrong = TlsCertificates { client_tls: None, root_cert: Some(fs::read(other.tls_ca()).unwrap()) };
    assert!(connect_to(Client::build_with_tls(server.url(), wrong).unwrap()).await.is_err(), "a stranger was trusted");
    assert!(connect(format!("redis://{}", server.addr())).await.is_err(), "without TLS");
}

#[tokio::test]
async fn a_client_certificate_can_be_required() {
    let server = Server::options().tls_client_certificate().start().await;
    assert!(!speaks_tls(&server, false).await);
    assert!(speaks_tls(&server, true).await);
}

#[test]
fn a_missing_program_is_no_silent_skip() {
    let mut worker = Command::new(WORKER)
        .env("PATH", "")
        .env_remove("CACHE_REDIS_SERVER")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = worker.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"{\"do\":\"start server\"}\n").unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut worker.stderr.take().unwrap(), &mut text).unwrap();
    assert!(!worker.wait().unwrap().success());
    assert!(text.contains("no redis-server") && text.contains("./tests/run"), "{text}");
}
