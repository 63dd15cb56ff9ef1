//! Settings of how values become bytes: whether they go together, and the keys that they describe.

use super::{CacheConfig, Resolved, Secret};
use crate::codec::{Codec, Keyring, Wire};
use crate::error::{Error, ErrorKind};

/// Whether codec, compression and encryption can be had as they are set.
pub(super) fn check(config: &CacheConfig, codec: Codec) -> Result<(), Error> {
    let keys = keyring(config.encryption_key.as_ref(), config.encryption_key_previous.as_ref())?;
    let (compress_above, encrypt) = (config.compress_above, config.encrypt.unwrap_or(false));
    Wire { codec, compress_above, encrypt, keys: &keys, name: b"" }.check()
}

fn keyring(key: Option<&Secret>, previous: Option<&Secret>) -> Result<Keyring, Error> {
    if previous.is_some() && key.is_none() {
        // One of them encrypts, and it must not be left to chance which.
        let what = "encryption_key_previous: it is set and `encryption_key` is not, which is the one that encrypts";
        return Err(Error::new(ErrorKind::Config, what));
    }
    let named = [("encryption_key", key), ("encryption_key_previous", previous)];
    Keyring::read(named.into_iter().filter_map(|(name, key)| Some((name, key?.expose()))))
}

impl Resolved {
    /// The keys that are set.
    pub(crate) fn keyring(&self) -> Result<Keyring, Error> {
        keyring(self.encryption_key.as_ref(), self.encryption_key_previous.as_ref())
    }
}
