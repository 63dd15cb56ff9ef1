//! Talking to a server of ours, past everything that a test may do to its ports, passwords and users: over the socket in
//! its folder, as a user of our own.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, RedisResult};

/// May do everything.
pub(super) const ADMIN: &str = "cache-tests";

/// A server that was stopped answers nothing; no command of a test takes this long.
const LIMIT: Duration = Duration::from_secs(20);

/// The admin's, on each server of this process.
pub(super) fn admin_password() -> &'static str {
    static PASSWORD: OnceLock<String> = OnceLock::new();
    PASSWORD.get_or_init(|| {
        use std::hash::{BuildHasher, RandomState};
        format!("{:016x}{:016x}", RandomState::new().hash_one(1), RandomState::new().hash_one(2))
    })
}

/// A connection to the server whose socket this is.
pub(super) async fn connect(socket: &Path) -> RedisResult<MultiplexedConnection> {
    let login =
        RedisConnectionInfo::default().set_username(ADMIN).set_password(admin_password()).set_skip_set_lib_name();
    let info = ConnectionAddr::Unix(socket.to_owned()).into_connection_info()?.set_redis_settings(login);
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(LIMIT)).set_response_timeout(Some(LIMIT));
    Client::open(info)?.get_multiplexed_async_connection_with_config(&config).await
}

/// The words of a command.
pub(super) fn command(words: &[impl AsRef<[u8]>]) -> Cmd {
    let mut command = Cmd::new();
    for word in words {
        command.arg(word.as_ref());
    }
    command
}
