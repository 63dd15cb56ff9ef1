//! The bare client: what somebody would write by hand who checks nothing.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use cache_runtime::Codec;
use cache_tests::redis::Server;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, IntoConnectionInfo as _};

use crate::function::Page;

/// As many connections as ours has, with its settings: RESP3, no delay, room for 1024 commands, an answer within 500 ms.
#[derive(Debug)]
pub(crate) struct Bare {
    connections: Vec<MultiplexedConnection>,
    next: AtomicUsize,
}

impl Bare {
    pub(crate) async fn connect(server: &Server) -> Self {
        let info = format!("{}?protocol=resp3", server.url()).into_connection_info().expect("a URL");
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = redis::Client::open(info).expect("a client");
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(Duration::from_millis(500)))
            .set_pipeline_buffer_size(1024)
            .set_write_backpressure_boundary(64 * 1024);
        let mut connections = Vec::new();
        for _ in 0..2 {
            connections.push(client.get_multiplexed_async_connection_with_config(&config).await.expect("it answers"));
        }
        Self { connections, next: AtomicUsize::new(0) }
    }

    /// Reads names, one after the other in one command, and decodes `value` so often: it stands for what was read.
    pub(crate) async fn read(&self, names: &[String], value: &[u8], times: usize) {
        let mut connection = self.connections[self.next.fetch_add(1, Relaxed) % self.connections.len()].clone();
        let mut command = redis::cmd("MGET");
        for name in names {
            command.arg(name);
        }
        let values: Vec<Option<Vec<u8>>> = command.query_async(&mut connection).await.expect("it answers");
        assert!(values.iter().all(Option::is_some));
        // All are there at the same time, as they are where somebody wants them.
        let decode = |_| Codec::Bincode.decode::<Page>(value).expect("a page");
        black_box((0..times).map(decode).collect::<Vec<_>>());
    }
}
