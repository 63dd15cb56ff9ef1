//! Where the server's program is.

use std::env;
use std::path::PathBuf;

/// Names a program to use instead of what is found in `PATH`.
const VARIABLE: &str = "CACHE_REDIS_SERVER";

/// What `redis-server` is called on systems that have moved on to Valkey.
const NAMES: [&str; 2] = ["redis-server", "valkey-server"];

/// The program. Links are not followed: Debian's is a link to a program that looks at the name it was called by.
pub(super) fn server() -> PathBuf {
    if let Some(path) = env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        assert!(path.is_file(), "{VARIABLE} names no file: {}", path.display());
        return path;
    }
    let folders = env::var_os("PATH").unwrap_or_default();
    NAMES
        .iter()
        .flat_map(|name| env::split_paths(&folders).map(move |folder| folder.join(name)))
        .find(|path| path.is_file())
        .unwrap_or_else(|| {
            panic!(
                "no redis-server: `./tests/run` installs it; by hand it is `apt-get install redis-server`, `dnf install redis`, \
                 `apk add redis`, `pacman -S valkey` or `brew install redis`; or name one in {VARIABLE}"
            )
        })
}
