//! It starts, says where, and answers there.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_serves_the_page_where_it_says() {
    let child =
        Command::new(env!("CARGO_BIN_EXE_live-page")).arg("0").stdout(Stdio::piped()).spawn().expect("it starts");
    let mut running = Running(child);
    let mut line = String::new();
    let output = running.0.stdout.take().expect("a pipe");
    // Kept to the end: it has more to say, and nobody to say it to would end it.
    let mut output = BufReader::new(output);
    output.read_line(&mut line).expect("it says where");
    let at = line.trim().strip_prefix("open http://").expect("an address");
    for (path, part) in [("/", "<title>Cache</title>"), ("/stats", "\"functions\":[{"), ("/health", "\"up\"")] {
        let mut stream = TcpStream::connect(at).expect("it listens");
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(part), "{path}: {answer}");
    }
}
