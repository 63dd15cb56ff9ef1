//! A server that answers what no server would: nothing panics, nothing grows, and everything is over soon.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::server::{name, server};
use crate::error::ErrorKind;
use crate::redis::{Connect, open};
use crate::server::{Endpoint, Topology};
use crate::store::{Op, Reply, SharedStore};

const INFO: &str = "redis_version:7.0.15\r\nredis_mode:standalone\r\nrun_id:a\r\nrole:master\r\nmaster_replid:b\r\n";

/// Logs everybody in, and answers everything else with the same bytes.
fn imposter(answer: Arc<Mutex<Vec<u8>>>) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            std::thread::spawn(move || serve(stream, &answer));
        }
    });
    Endpoint { host: "127.0.0.1".into(), port }
}

fn serve(mut stream: TcpStream, answer: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        let asked = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let answer = match () {
            () if asked.contains("HELLO") => b"%1\r\n+proto\r\n:3\r\n".to_vec(),
            () if asked.contains("INFO") => format!("${}\r\n{INFO}\r\n+PONG\r\n", INFO.len()).into_bytes(),
            () => answer.lock().clone(),
        };
        if stream.write_all(&answer).is_err() {
            return;
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "a test measures how long it waits")]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test]
async fn nonsense_is_an_error_and_soon_over() {
    let answer = Arc::new(Mutex::new(Vec::new()));
    let connect = Connect {
        response_timeout: Duration::from_millis(100),
        ..Connect::to(server(Topology::Standalone(imposter(answer.clone()))))
    };
    let nonsense: [&[u8]; 18] = [
        b"hello\r\n",
        b"\0\0\0\0\r\n",
        b"$-7\r\n",
        b"$9223372036854775807\r\nx",
        b"$99999999999999999999\r\n",
        b"*4294967295\r\n",
        b"*9223372036854775807\r\n:1\r\n",
        b"%9223372036854775807\r\n",
        b"~9223372036854775807\r\n",
        b">9223372036854775807\r\n",
        b">0\r\n",
        b"|-1\r\n",
        b"=-1\r\n",
        b"!-1\r\n",
        b":x\r\n",
        b"-\r\n",
        b"+\xff\xff\r\n",
        b">2\r\n$7\r\nmessage\r\n$1\r\nx\r\n",
    ];
    for bytes in nonsense.iter().map(|bytes| bytes.to_vec()).chain([b"*1\r\n".repeat(100_000)]) {
        *answer.lock() = bytes.clone();
        let redis = open(connect.clone()).unwrap();
        let (ops, start) = (|| vec![Op::Read(name("a")), Op::Left(name("a")), Op::ReadPlain(name("b"))], now());
        for _ in 0..5 {
            for reply in redis.run(ops()).await {
                let kind = reply.map_err(|error| error.kind());
                assert!(
                    matches!(kind, Err(ErrorKind::Unavailable | ErrorKind::Protocol)),
                    "{:?}: {kind:?}",
                    String::from_utf8_lossy(&bytes[..bytes.len().min(40)])
                );
            }
        }
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn answers_of_the_wrong_kind_and_errors_never_become_values() {
    let answer = Arc::new(Mutex::new(Vec::new()));
    let redis = open(Connect::to(server(Topology::Standalone(imposter(answer.clone()))))).unwrap();
    let cell = || Op::Ensure { cell: name("c"), fresh: [1; 16], ttl: None };
    for (bytes, op, kind) in [
        (":1\r\n", Op::Read(name("a")), ErrorKind::Protocol),
        ("+OK\r\n", Op::Read(name("a")), ErrorKind::Protocol),
        ("$3\r\nabc\r\n", cell(), ErrorKind::Unavailable),
        // Nothing at all says that the cell is being written.
        (":1\r\n", cell(), ErrorKind::Protocol),
        (":-5\r\n", Op::Drop(vec![name("a")]), ErrorKind::Protocol),
        ("$1\r\nx\r\n", Op::Left(name("a")), ErrorKind::Protocol),
        ("-LOADING Redis is loading\r\n", Op::Left(name("a")), ErrorKind::Unavailable),
        ("-MASTERDOWN Link is down\r\n", Op::Left(name("a")), ErrorKind::Unavailable),
        ("-BUSY script\r\n", Op::Left(name("a")), ErrorKind::Unavailable),
        ("-TRYAGAIN later\r\n", Op::Left(name("a")), ErrorKind::Unavailable),
        ("-CLUSTERDOWN down\r\n", Op::Left(name("a")), ErrorKind::Unavailable),
        ("-MOVED 1 127.0.0.1:1\r\n", Op::Left(name("a")), ErrorKind::Unavailable),
        ("-MISCONF disk\r\n", Op::Left(name("a")), ErrorKind::ReadOnly),
        ("-NOREPLICAS few\r\n", Op::Left(name("a")), ErrorKind::ReadOnly),
        ("-READONLY replica\r\n", Op::Left(name("a")), ErrorKind::ReadOnly),
        ("-OOM full\r\n", Op::Left(name("a")), ErrorKind::Full),
        ("-NOAUTH who\r\n", Op::Left(name("a")), ErrorKind::Denied),
        ("-NOPERM secret-key\r\n", Op::Left(name("a")), ErrorKind::Denied),
        ("-ERR secret-key\r\n", Op::Left(name("a")), ErrorKind::Protocol),
        ("-secret-key x\r\n", Op::Left(name("a")), ErrorKind::Protocol),
        ("-WRONGTYPE x\r\n", Op::Left(name("a")), ErrorKind::Protocol),
    ] {
        *answer.lock() = bytes.into();
        let error = redis.run(vec![op]).await.pop().unwrap().expect_err(bytes);
        assert_eq!(error.kind(), kind, "{bytes}: {error}");
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }
    // A value without a stamp, or with another's.
    for bytes in ["$3\r\nabc\r\n", "$9\r\nx12345678\r\n", "$0\r\n\r\n", "_\r\n", "-WRONGTYPE x\r\n"] {
        *answer.lock() = bytes.into();
        let reply = redis.run(vec![Op::Read(name("a"))]).await.pop().unwrap().unwrap();
        assert_eq!(reply, Reply::Bytes(None), "{bytes}");
    }
}
