//! Plain HTTP over a socket, with headers that no browser and no client library would send.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A request that is being put together.
pub(crate) struct Asked {
    method: &'static str,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

pub(crate) fn get(path: impl Into<String>) -> Asked {
    Asked { method: "GET", path: path.into(), headers: Vec::new(), body: String::new() }
}

pub(crate) fn post(path: impl Into<String>, body: &Value) -> Asked {
    let asked = Asked { method: "POST", body: body.to_string(), ..get(path) };
    asked.header("content-type", "application/json")
}

impl Asked {
    /// Adds a header, or replaces what it was.
    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<String>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it and gives what answers, before anything of that was read.
    pub(crate) async fn open(mut self, to: SocketAddr) -> TcpStream {
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            self = self.header("host", to.to_string());
        }
        let mut stream = TcpStream::connect(to).await.expect("the server listens");
        let headers: String = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let text = format!(
            "{} {} HTTP/1.1\r\n{headers}connection: close\r\ncontent-length: {}\r\n\r\n{}",
            self.method,
            self.path,
            self.body.len(),
            self.body
        );
        stream.write_all(text.as_bytes()).await.expect("the server reads");
        stream
    }

    pub(crate) async fn send(self, to: SocketAddr) -> Answer {
        let mut bytes = Vec::new();
        self.open(to).await.read_to_end(&mut bytes).await.expect("the server answers");
        let text = String::from_utf8(bytes).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer has a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("an answer has a status");
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}
