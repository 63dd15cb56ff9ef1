//! Real HTTP: a service on a free port, and a client that sends exactly what a test says. Knows nothing of the framework.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A service that runs until it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Serves `app` on a free port.
    ///
    /// # Panics
    ///
    /// There is none.
    pub async fn start(app: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move { axum::serve(listener, app).await.expect("a server") });
        Self { address, task }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `GET`s a path.
    pub async fn get(&self, path: &str) -> Reply {
        self.get_with(path, &[]).await
    }

    /// `GET`s a path with headers.
    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.send("GET", path, headers, "").await
    }

    /// Sends a request and reads its response.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        send(self.address, method, path, headers, body).await
    }

    /// Sends these bytes and reads a response to the end of the connection.
    pub async fn raw(&self, request: &[u8]) -> Reply {
        raw(self.address, request).await
    }
}

/// [`Server::send`] to any address.
pub async fn send(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut text = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        text.push_str("host: test\r\n");
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(body);
    raw(address, text.as_bytes()).await
}

/// [`Server::raw`] to any address.
///
/// # Panics
///
/// Nobody listens there.
pub async fn raw(address: SocketAddr, request: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(request).await.expect("a request that is sent");
    let mut bytes = Vec::new();
    // A connection that is reset has said what it has said.
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut bytes)).await;
    let _ = read.expect("an end of the response within half a minute");
    Reply::parse(&bytes)
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// `200`.
    pub status: u16,
    /// In lower case, in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// As far as it came.
    pub body: Vec<u8>,
    /// Whether it came to its end.
    pub complete: bool,
}

impl Reply {
    fn parse(bytes: &[u8]) -> Self {
        let at = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("the end of a head");
        let (head, rest) = (std::str::from_utf8(&bytes[..at]).expect("a head in ASCII"), &bytes[at + 4..]);
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status");
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut reply = Self { status: status.parse().expect("a number"), headers, body: Vec::new(), complete: true };
        if reply.header("transfer-encoding") == Some("chunked") {
            reply.complete = reply.take_chunks(rest);
        } else {
            reply.body = rest.to_vec();
            let length = reply.header("content-length").and_then(|length| length.parse::<usize>().ok());
            reply.complete = length.is_none_or(|length| length <= rest.len());
        }
        reply
    }

    /// Returns whether the last chunk came.
    fn take_chunks(&mut self, mut rest: &[u8]) -> bool {
        loop {
            let Some(at) = rest.windows(2).position(|two| two == b"\r\n") else { return false };
            let size = std::str::from_utf8(&rest[..at]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
            let Some(size) = size else { return false };
            if size == 0 {
                return true;
            }
            rest = &rest[at + 2..];
            self.body.extend_from_slice(&rest[..size.min(rest.len())]);
            if rest.len() < size + 2 {
                return false;
            }
            rest = &rest[size + 2..];
        }
    }

    /// The value of a header; of several, the first.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    ///
    /// # Panics
    ///
    /// It is none.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// What the cache says of it.
    #[must_use]
    pub fn cache(&self) -> &str {
        self.header("cache-status").unwrap_or_default()
    }

    /// Whether it came from the cache.
    #[must_use]
    pub fn is_hit(&self) -> bool {
        self.cache().contains("; hit")
    }
}
