//! Opening a connection: name, socket, TLS, log in. Everything that is the same for all servers of an installation.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
#[cfg(any(feature = "redis-cluster", feature = "redis-sentinel"))]
use std::pin::pin;
use std::time::Duration;

use futures_util::future::select_ok;
#[cfg(any(feature = "redis-cluster", feature = "redis-sentinel"))]
use futures_util::future::{Either, select};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::socket2::{SockRef, TcpKeepalive};
use redis::{AsyncConnectionConfig, ProtocolVersion, PushInfo, RedisConnectionInfo};
#[cfg(any(feature = "redis-cluster", feature = "redis-sentinel"))]
use redis::{Cmd, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::fault;
#[cfg(feature = "tls")]
use super::tls::Tls;
use crate::error::{Error, ErrorKind};
use crate::secret::Secret;
use crate::server::Endpoint;

/// Commands that wait to be written to one connection.
const BUFFERED: usize = 1024;

/// Bytes that are gathered before they are written.
const GATHERED: usize = 64 * 1024;

/// How often a silent peer is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Tcp(Endpoint),
    Unix(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(endpoint) => endpoint.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// How to log in, and how long to wait.
pub(super) struct Dial {
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) database: u32,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Tls>,
    pub(super) connect_timeout: Duration,
    pub(super) response_timeout: Duration,
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dial")
            .field("connect_timeout", &self.connect_timeout)
            .field("response_timeout", &self.response_timeout)
            .finish_non_exhaustive()
    }
}

/// What a connection reads and writes.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What moves a connection's bytes; it has to be spawned.
pub(super) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Whether to log in, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Login {
    /// As the URL says, in RESP3, on its database.
    Data,
    /// Not at all: sentinels mostly know no users.
    #[cfg(feature = "redis-sentinel")]
    Nobody,
    /// As the URL says, in RESP2, on no database: a sentinel that does know users.
    #[cfg(feature = "redis-sentinel")]
    User,
}

impl Login {
    fn is_somebody(self) -> bool {
        match self {
            Self::Data => true,
            #[cfg(feature = "redis-sentinel")]
            Self::Nobody => false,
            #[cfg(feature = "redis-sentinel")]
            Self::User => true,
        }
    }
}

impl Dial {
    /// A connection to a server, with whatever it pushes going to `pushes`. It is logged in. Not bounded in time.
    pub(super) async fn connect(
        &self,
        place: &Place,
        login: Login,
        pushes: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<(MultiplexedConnection, Driver), Error> {
        let stream = self.open(place).await?;
        let mut settings = RedisConnectionInfo::default().set_skip_set_lib_name();
        let mut config = AsyncConnectionConfig::new()
            // Time is kept by `timer`: users' runtimes may have no clock, or one that a test has stopped.
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(BUFFERED)
            .set_write_backpressure_boundary(GATHERED);
        if login == Login::Data {
            settings = settings.set_protocol(ProtocolVersion::RESP3).set_db(i64::from(self.database));
            config = config.set_push_sender(move |push: PushInfo| {
                pushes(push);
                Ok::<(), redis::aio::SendError>(())
            });
        }
        if let Some(password) = self.password.as_ref().filter(|_| login.is_somebody()) {
            settings = settings.set_password(password.expose());
            if let Some(username) = &self.username {
                settings = settings.set_username(username);
            }
        }
        let (connection, driver) = MultiplexedConnection::new_with_config(&settings, stream, config)
            .await
            .map_err(|error| fault::broken(place, &error))?;
        Ok((connection, Box::pin(driver)))
    }

    /// The answer to one question, on a connection of its own. Not bounded in time.
    #[cfg(any(feature = "redis-cluster", feature = "redis-sentinel"))]
    pub(super) async fn ask_once(&self, place: &Place, login: Login, question: &Cmd) -> Result<Value, Error> {
        let (mut connection, driver) = self.connect(place, login, |_| {}).await?;
        let answer = connection.send_packed_command(question);
        // Here and not in a task: it ends with this question, whoever gives it up.
        let answer = match select(pin!(answer), driver).await {
            Either::Left((answer, _)) => answer,
            Either::Right(((), answer)) => answer.await,
        };
        answer.map_err(|error| fault::broken(place, &error))
    }

    async fn open(&self, place: &Place) -> Result<Box<dyn Stream>, Error> {
        match place {
            #[cfg(unix)]
            Place::Unix(path) => {
                let stream = tokio::net::UnixStream::connect(path).await;
                Ok(Box::new(stream.map_err(|error| fault::unopened(place, error))?))
            }
            #[cfg(not(unix))]
            Place::Unix(_) => Err(Error::new(ErrorKind::Unsupported, "this system has no `unix://` sockets")),
            Place::Tcp(endpoint) => {
                let stream = open_tcp(endpoint).await?;
                #[cfg(feature = "tls")]
                if let Some(tls) = &self.tls {
                    return Ok(Box::new(tls.handshake(endpoint, stream).await?));
                }
                Ok(Box::new(stream))
            }
        }
    }
}

async fn open_tcp(endpoint: &Endpoint) -> Result<TcpStream, Error> {
    let addresses = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)).await;
    let addresses = match addresses {
        Ok(addresses) => addresses,
        // The name is not shown: where a URL is misread, it may be a part of the password.
        Err(error) => {
            return Err(
                Error::new(ErrorKind::Config, "host: the name of the server cannot be resolved").with_source(error)
            );
        }
    };
    // All at once: where one address swallows what is sent to it, another may answer.
    let attempts: Vec<_> = addresses.map(|address| Box::pin(TcpStream::connect(address))).collect();
    if attempts.is_empty() {
        return Err(Error::new(ErrorKind::Config, "host: the name of the server has no address"));
    }
    let unopened = |error| fault::unopened(endpoint, error);
    let (stream, _others) = select_ok(attempts).await.map_err(unopened)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3);
    stream.set_nodelay(true).map_err(unopened)?;
    SockRef::from(&stream).set_tcp_keepalive(&keepalive).map_err(unopened)?;
    Ok(stream)
}
