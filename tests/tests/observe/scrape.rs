//! A recorder that Prometheus could scrape, and one who scrapes it over TCP.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use metrics::LocalRecorderGuard;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

/// A recorder of its own for a test. It hears what happens on the test's thread.
pub(crate) struct Endpoint {
    recorder: PrometheusRecorder,
    at: SocketAddr,
}

/// What an endpoint said.
#[derive(Debug)]
pub(crate) struct Scraped {
    pub(crate) text: String,
    series: BTreeMap<String, f64>,
}

fn serve(listener: &TcpListener, handle: &PrometheusHandle) {
    for stream in listener.incoming().flatten() {
        let mut line = String::new();
        let mut reader = BufReader::new(&stream);
        while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
            line.clear();
        }
        let body = handle.render();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}", body.len());
        let _ = (&stream).write_all(format!("{head}\r\nconnection: close\r\n\r\n{body}").as_bytes());
    }
}

impl Endpoint {
    pub(crate) fn start() -> Self {
        let recorder = PrometheusBuilder::new().set_buckets(&[1e-6, 1e-3, 1.0]).unwrap().build_recorder();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (at, handle) = (listener.local_addr().unwrap(), recorder.handle());
        // It ends with the process.
        std::thread::spawn(move || serve(&listener, &handle));
        Self { recorder, at }
    }

    /// Makes it this thread's recorder.
    pub(crate) fn record(&self) -> LocalRecorderGuard<'_> {
        metrics::set_default_local_recorder(&self.recorder)
    }

    pub(crate) fn scrape(&self) -> Scraped {
        let mut stream = TcpStream::connect(self.at).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, text) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        Scraped::of(text)
    }
}

impl Scraped {
    fn of(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let series = lines
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(series, value)| (series.to_owned(), value.parse().unwrap()))
            .collect();
        Self { text: text.to_owned(), series }
    }

    /// The value of one series; `None`: there is none.
    pub(crate) fn get(&self, series: &str) -> Option<f64> {
        self.series.get(series).copied()
    }

    /// The value of one series as a whole number, 0 where there is none.
    pub(crate) fn count(&self, series: &str) -> u64 {
        self.get(series).unwrap_or_default() as u64
    }

    /// The names of all metrics, as `# TYPE` says them.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let types = self.text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    }

    /// All series, without their values.
    pub(crate) fn series(&self) -> Vec<&str> {
        self.series.keys().map(String::as_str).collect()
    }

    /// All labels.
    pub(crate) fn labels(&self) -> BTreeSet<String> {
        let inside = self.series.keys().filter_map(|series| series.split_once('{')?.1.strip_suffix('}'));
        inside
            .flat_map(|labels| labels.split("\","))
            .filter_map(|label| label.split('=').next())
            .map(str::to_owned)
            .collect()
    }
}
