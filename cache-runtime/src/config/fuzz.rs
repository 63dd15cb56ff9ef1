//! What the fuzz targets `url` and `config` run, and their stable twins: whatever is configured, a setting is used or
//! refused, and what is secret is in no message.

use super::{Backend, CacheConfig};

/// As long as a password is at least that is looked for: shorter ones are in every text.
const LONG: usize = 6;

/// Whether a text shows a secret. One that is a part of the messages' own words cannot be told.
fn shows(text: &str, secret: &str) -> bool {
    let own = "CACHE_ENCRYPTION_KEY_PREVIOUS Config redis+sentinel user name password database unix path socket hosts";
    secret.len() >= LONG
        && !own.contains(secret)
        && text.contains(secret)
        && !secret.chars().all(|c| c.is_ascii_punctuation())
}

/// What is between a user name and the last `@`, as it is written, if nothing else of the URL has it too.
fn password(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let (login, servers) = rest.rsplit_once('@')?;
    let (user, password) = login.split_once(':')?;
    (![scheme, user, servers].iter().any(|part| part.contains(password))).then_some(password)
}

/// A URL.
pub(crate) fn url(data: &[u8]) {
    let Ok(url) = std::str::from_utf8(data) else { return };
    let said = match url.parse::<Backend>() {
        Ok(backend) => format!("{backend} {backend:?}"),
        Err(error) => format!("{error} {error:?}"),
    };
    if let Some(password) = password(url) {
        assert!(!shows(&said, password), "{url} {said}");
    }
    // Whether it is refused here or later, it is the same.
    let config = CacheConfig { url: Some(url.to_owned()), ..CacheConfig::default() };
    assert!(url.parse::<Backend>().is_ok() || config.resolve().is_err(), "{url}");
}

/// Lines of `NAME=value`; what follows an empty line is a file in JSON.
pub(crate) fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (env, file) = text.split_once("\n\n").unwrap_or((text, "{}"));
    let value = |name: &str| env.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let from_env = CacheConfig::from_env_with(|name| value(name).map(str::to_owned));
    let from_file = serde_json::from_str::<CacheConfig>(file);
    let mut said = format!("{from_env:?}");
    if let (Ok(env), Ok(file)) = (from_env, from_file) {
        said += &format!("{:?}", env.or(file).resolve());
    }
    for name in ["CACHE_ENCRYPTION_KEY", "CACHE_ENCRYPTION_KEY_PREVIOUS", "REDIS_PASSWORD"] {
        if let Some(secret) = value(name) {
            let elsewhere =
                env.lines().filter(|line| line.contains(secret)).count() + usize::from(file.contains(secret));
            assert!(elsewhere > 1 || !shows(&said, secret), "{name} {said}");
        }
    }
}
