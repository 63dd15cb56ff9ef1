//! Who may do what, and over which kind of connection.

use std::time::Duration;

use super::server::{Redisd, name, one, server, until};
use crate::error::{Error, ErrorKind};
use crate::redis::{Connect, Redis, open};
use crate::server::{Server, Topology};
use crate::store::{Cursor, EntryName, FENCED, Image, Life, Op, Reply, SharedStore};

const MINUTE: Duration = Duration::from_secs(60);

fn entry() -> EntryName {
    EntryName { entry: name("svc:v1:e"), side: name("svc:v1:s"), lease: name("svc:v1:l") }
}

/// Everything that the module can do. The first error, if there is one.
async fn everything(redis: &Redis) -> Result<(), Error> {
    redis.ready().await?;
    redis.ping().await?;
    redis.info().await?;
    let mut listener = redis.listen(&entry().lease).await?;
    let image = |plain: Option<&str>| Image { envelope: b"e".to_vec(), plain: plain.map(Into::into) };
    let (token, cell) = ([1; 16], name("svc:v1:c"));
    let acquire = |steal| Op::Acquire { lease: entry().lease, token, ttl: MINUTE, steal };
    let fill = |plain, or_drop| Op::Fill { name: entry(), token, image: image(plain), ttl: Some(MINUTE), or_drop };
    let replace = |image, life| Op::Replace {
        name: entry(),
        seen: Some((entry().side, Some(b"e".to_vec()))),
        plain: None,
        image,
        life,
        close: true,
    };
    let ops = vec![
        acquire(false),
        Op::Renew { lease: entry().lease, token, ttl: MINUTE },
        Op::Release { lease: entry().lease, token },
        acquire(true),
        fill(Some("1"), false),
        Op::Count { name: entry(), seen: b"e".to_vec(), by: 1 },
        replace(Some(image(Some("2"))), Life::Keep),
        Op::Read(entry().side),
        Op::ReadPlain(entry().entry),
        Op::Left(entry().entry),
        Op::Read(entry().entry),
        Op::Expire(entry().entry, Some(MINUTE)),
        Op::Expire(entry().entry, None),
        Op::Extend(entry().entry, Some(MINUTE)),
        Op::Extend(entry().entry, None),
        replace(None, Life::Forever),
        fill(None, true),
        Op::Ensure { cell: cell.clone(), fresh: [1; 16], ttl: Some(MINUTE) },
        Op::Ensure { cell: cell.clone(), fresh: [1; 16], ttl: None },
        Op::Swap { cell: cell.clone(), seen: [1; 16], fresh: [2; 16], ttl: Some(MINUTE) },
        Op::Swap { cell: cell.clone(), seen: [1; 16], fresh: [2; 16], ttl: None },
        Op::Drop(vec![cell.clone()]),
        Op::Mark { name: cell.clone(), writer: [3; 16], ttl: MINUTE },
        Op::Mark { name: cell.clone(), writer: [3; 16], ttl: MINUTE },
        Op::Ensure { cell: cell.clone(), fresh: [4; 16], ttl: Some(MINUTE) },
        Op::Unmark { name: cell, writer: [3; 16] },
    ];
    let replies: Vec<Reply> = redis.run(ops).await.into_iter().collect::<Result<_, _>>()?;
    for (n, reply) in replies.into_iter().enumerate() {
        let expected = match n {
            5 => reply == Reply::Sum(Some(2)),
            7 => reply == Reply::Bytes(Some(b"e".to_vec())),
            8 => reply == Reply::Bytes(Some(b"2".to_vec())),
            10 => reply == Reply::Bytes(None),
            16 | 20 | 22 => reply == Reply::Flag(false),
            24 => reply == Reply::Nonce(FENCED),
            _ => !matches!(reply, Reply::Flag(false)),
        };
        assert!(expected, "op {n}: {reply:?}");
    }
    redis.scan(b"svc:v1:*", Cursor::default()).await?;
    listener.woken().await;
    drop(listener);
    Ok(())
}

/// The user in the module's documentation.
pub(super) fn documented_user() -> Vec<String> {
    let lines = include_str!("../mod.rs").lines().skip_while(|line| !line.contains("ACL SETUSER")).map_while(|line| {
        let line = line.strip_prefix("//! ")?;
        (line != "```").then_some(line)
    });
    lines.flat_map(str::split_ascii_whitespace).skip(2).map(str::to_owned).collect()
}

fn as_user(server: &Redisd) -> Server {
    Server { username: Some("cache".into()), password: Some("password".into()), ..server.server() }
}

#[tokio::test]
async fn the_documented_user_may_do_everything_and_nothing_of_it_is_too_much() {
    let server = Redisd::start(&[]);
    let user = documented_user();
    let set = |user: &[&str]| {
        server.command::<()>(&[&["ACL", "SETUSER", user[0], "reset"], &user[1..]].concat());
        open(Connect { connections: 1, ..Connect::to(as_user(&server)) }).unwrap()
    };
    let user: Vec<&str> = user.iter().map(String::as_str).collect();
    assert!(user.len() > 15, "{user:?}");
    everything(&set(&user)).await.unwrap();
    for (n, part) in user.iter().enumerate().skip(3).filter(|(_, part)| !part.starts_with('-')) {
        server.command::<()>(&["FLUSHALL"]);
        let mut less = user.clone();
        less.remove(n);
        let redis = set(&less);
        match *part {
            // Nobody waits for it, so nobody sees it fail but the server.
            "+unsubscribe" => {
                everything(&redis).await.unwrap();
                let channels = || server.command::<Vec<String>>(&["PUBSUB", "CHANNELS"]);
                tokio::time::sleep(Duration::from_millis(200)).await;
                assert_eq!(channels().len(), 1, "it unsubscribed without permission");
            }
            _ => {
                let error = everything(&redis).await.expect_err(part);
                assert_eq!(error.kind(), ErrorKind::Denied, "without {part}: {error}");
                assert!(!error.to_string().contains("svc:"), "{error}");
                // Where a script ran it, the server does not say which command it was.
                let what = [format!("run `{}`", &part[1..]), "run a command".into(), "keys".into(), "channels".into()];
                assert!(what.iter().any(|what| error.to_string().contains(what)), "without {part}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn another_database_needs_one_command_more() {
    let server = Redisd::start(&[]);
    let user = documented_user();
    for more in ["+select", "+time"] {
        let user: Vec<&str> = user.iter().map(String::as_str).chain([more]).collect();
        server.command::<()>(&[&["ACL", "SETUSER", user[0], "reset"], &user[1..]].concat());
        let redis = open(Connect::to(Server { database: 5, ..as_user(&server) })).unwrap();
        match everything(&redis).await {
            Ok(()) => assert_eq!(more, "+select"),
            Err(error) => assert_eq!((error.kind(), more), (ErrorKind::Denied, "+time"), "{error}"),
        }
    }
}

#[tokio::test]
async fn a_unix_socket_is_as_good_as_a_port() {
    let server = {
        let mut server = Redisd::start(&[]);
        server.add(&format!("unixsocket {}", server.path("sock").display()));
        server.restart();
        server
    };
    let redis = open(Connect::to(Server { ..super::server::server(Topology::Unix(server.path("sock"))) })).unwrap();
    everything(&redis).await.unwrap();
    let nothing = open(Connect::to(super::server::server(Topology::Unix(server.path("none"))))).unwrap();
    assert_eq!(nothing.ready().await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_feature_that_is_missing_is_named_when_the_cache_is_built() {
    let endpoint = crate::server::Endpoint { host: "h".into(), port: 1 };
    let sentinels = Topology::Sentinel { sentinels: vec![endpoint.clone()], master: "m".into() };
    let kinds = [
        ("tls", cfg!(feature = "tls"), Server { tls: true, ..server(Topology::Standalone(endpoint.clone())) }),
        ("redis-sentinel", cfg!(feature = "redis-sentinel"), server(sentinels)),
        ("redis-cluster", cfg!(feature = "redis-cluster"), server(Topology::Cluster(vec![endpoint]))),
    ];
    for (feature, is_there, server) in kinds {
        match open(Connect::to(server)) {
            Ok(_) => assert!(is_there, "{feature}"),
            Err(error) => {
                assert!(!is_there, "{feature}: {error}");
                assert_eq!(error.kind(), ErrorKind::Unsupported);
                assert!(error.to_string().contains(&format!("`{feature}`")), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_loads_its_data_is_unavailable_until_it_has() {
    let mut server = Redisd::start(&["key-load-delay 200", "loading-process-events-interval-bytes 1024"]);
    for n in 0..5_000 {
        server.command::<()>(&["SET", &format!("k{n}"), "some text that takes a while to load"]);
    }
    server.command::<()>(&["SAVE"]);
    server.restart();
    let redis = server.open();
    let error = redis.ready().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().ends_with("is loading its data"), "{error}");
    until("the data is loaded", async || redis.ready().await.is_ok()).await;
    one(&redis, Op::Left(name("k1"))).await;
}

#[cfg(feature = "tls")]
mod encrypted {
    use std::path::PathBuf;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::server::{Endpoint, TlsFiles};

    /// Runs `openssl` in a folder.
    fn openssl(server: &Redisd, words: &str) {
        let status = Command::new("openssl")
            .args(words.split_ascii_whitespace())
            .current_dir(&server.dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(status.expect("openssl is missing: `apt-get install openssl`").success(), "openssl {words}");
    }

    /// A server that takes encrypted connections on a second port, from clients with a certificate.
    fn start() -> (Redisd, u16) {
        let mut server = Redisd::start(&[]);
        std::fs::write(server.path("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1").unwrap();
        let ca = |name: &str| {
            let key = format!("-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {name}.key");
            format!("req -x509 {key} -out {name}.pem -days 2 -subj /CN={name}")
        };
        openssl(&server, &ca("ca"));
        openssl(&server, &ca("stranger"));
        for who in ["server", "client"] {
            let key = format!("-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {who}.key");
            openssl(&server, &format!("req {key} -out {who}.csr -subj /CN={who}"));
            let ca = "-CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names";
            openssl(&server, &format!("x509 -req -in {who}.csr {ca} -out {who}.pem"));
        }
        let port = super::super::server::free_port();
        server.add(&format!(
            "tls-port {port}\ntls-cert-file server.pem\ntls-key-file server.key\ntls-ca-cert-file ca.pem"
        ));
        server.restart();
        (server, port)
    }

    fn to(port: u16, host: &str, files: [Option<PathBuf>; 3]) -> Connect {
        let [ca, cert, key] = files;
        let endpoint = Endpoint { host: host.into(), port };
        let server = Server { tls: true, ..server(Topology::Standalone(endpoint)) };
        Connect { tls: TlsFiles { ca, cert, key }, ..Connect::to(server) }
    }

    #[tokio::test]
    async fn an_encrypted_connection_is_as_good_and_checks_who_is_there() {
        let (server, port) = start();
        let file = |name: &str| Some(server.path(name));
        let own = || [file("ca.pem"), file("client.pem"), file("client.key")];
        everything(&open(to(port, "localhost", own())).unwrap()).await.unwrap();
        everything(&open(to(port, "127.0.0.1", own())).unwrap()).await.unwrap();
        let refused = async |connect: Connect| open(connect).unwrap().ready().await.unwrap_err();
        // Somebody whom we do not trust.
        let error =
            refused(to(port, "localhost", [file("stranger.pem"), file("client.pem"), file("client.key")])).await;
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains("tls_ca"), "{error}");
        // Somebody whom the server does not trust, and nobody at all.
        let stranger = [file("ca.pem"), file("stranger.pem"), file("stranger.key")];
        for files in [stranger, [file("ca.pem"), None, None]] {
            let error = refused(to(port, "localhost", files)).await;
            assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        }
        // A port that does not speak it.
        let error = refused(to(server.port, "localhost", own())).await;
        assert!(matches!(error.kind(), ErrorKind::Config | ErrorKind::Unavailable), "{error}");
    }

    #[tokio::test]
    async fn files_that_cannot_be_used_are_named_by_their_setting() {
        let (server, port) = start();
        let file = |name: &str| Some(server.path(name));
        for (setting, files) in [
            ("tls_ca", [file("none.pem"), None, None]),
            ("tls_ca", [file("names"), None, None]),
            ("tls_cert", [file("ca.pem"), file("none.pem"), file("client.key")]),
            ("tls_key", [file("ca.pem"), file("client.pem"), file("client.pem")]),
            ("tls_key", [file("ca.pem"), file("client.pem"), file("server.key")]),
            ("tls_cert", [file("ca.pem"), file("client.pem"), None]),
            ("tls_key", [file("ca.pem"), None, file("client.key")]),
        ] {
            let error = open(to(port, "localhost", files)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().starts_with(setting), "{setting}: {error}");
        }
        let plain =
            Connect { tls: TlsFiles { ca: file("ca.pem"), ..TlsFiles::default() }, ..Connect::to(server.server()) };
        let error = open(plain).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().starts_with("tls_ca"), "{error}");
    }
}
