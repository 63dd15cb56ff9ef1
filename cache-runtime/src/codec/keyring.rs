//! Keys: what settings say of them, and encrypting and decrypting a payload with them. No envelope here; what a payload is
//! bound to comes in as bytes.

use std::fmt;

use crate::envelope::{KeyId, Reject};
use crate::error::{Error, ErrorKind};

/// Zero or more keys of 256 bits. The first encrypts, all decrypt, so that a key can be exchanged for another while
/// entries of both are about.
#[derive(Clone, Default)]
pub(crate) struct Keyring {
    #[cfg(feature = "encryption")]
    keys: Vec<sealed::Key>,
}

impl Keyring {
    /// Reads keys as settings give them: 64 hex digits, or base64 of 32 bytes. The first one encrypts.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`], beginning with the name of the setting and without the text, and
    /// [`ErrorKind::Unsupported`] without the feature `encryption`.
    pub(crate) fn read<'k>(keys: impl IntoIterator<Item = (&'k str, &'k str)>) -> Result<Self, Error> {
        let keys = keys.into_iter();
        #[cfg(feature = "encryption")]
        return Ok(Self {
            keys: keys.map(|(setting, text)| sealed::Key::read(setting, text)).collect::<Result<_, _>>()?,
        });
        #[cfg(not(feature = "encryption"))]
        match { keys }.next() {
            None => Ok(Self {}),
            Some((setting, _)) => Err(unsupported(setting)),
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.first().is_err()
    }

    /// The id of the key that encrypts.
    pub(super) fn first(&self) -> Result<KeyId, Error> {
        #[cfg(feature = "encryption")]
        if let Some(key) = self.keys.first() {
            return Ok(key.id);
        }
        Err(match cfg!(feature = "encryption") {
            true => Error::new(ErrorKind::Config, "encrypt: encryption is asked for and `encryption_key` is not set"),
            false => unsupported("encrypt"),
        })
    }

    /// Encrypts what is behind `start` with the first key.
    #[allow(clippy::ptr_arg, unused_variables, reason = "not with the feature")]
    pub(super) fn seal(&self, out: &mut Vec<u8>, start: usize, bound: &[u8]) -> Result<(), Error> {
        #[cfg(feature = "encryption")]
        if let Some(key) = self.keys.first() {
            return key.seal(out, start, bound);
        }
        self.first().map(drop)
    }

    /// Decrypts a payload that [`seal`](Self::seal) made.
    #[allow(unused_variables, reason = "not with the feature")]
    pub(super) fn open(&self, id: KeyId, payload: &[u8], bound: &[u8]) -> Result<Vec<u8>, Reject> {
        #[cfg(feature = "encryption")]
        {
            // Two keys may have one id by chance: all that have it are tried.
            let mut mine = self.keys.iter().filter(|key| key.id == id).peekable();
            mine.peek().ok_or(Reject::Key)?;
            mine.find_map(|key| key.open(payload, bound)).ok_or(Reject::Forged)
        }
        #[cfg(not(feature = "encryption"))]
        Err(Reject::Key)
    }
}

/// How much longer a payload is once it is encrypted.
pub(super) const SEAL_LEN: usize = 24 + 16;

pub(crate) fn unsupported(setting: &str) -> Error {
    let what = format!("{setting}: encryption is not compiled in: it needs the feature `encryption` of cache-runtime");
    Error::new(ErrorKind::Unsupported, what)
}

/// Shows nothing of the keys, nor how many there are.
impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring(***)")
    }
}

#[cfg(feature = "encryption")]
mod sealed {
    use chacha20poly1305::aead::{AeadInOut, Generate, KeyInit};
    use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};

    use super::SEAL_LEN;
    use crate::envelope::KeyId;
    use crate::error::{Error, ErrorKind};

    const NONCE_LEN: usize = 24;
    const TAG_LEN: usize = SEAL_LEN - NONCE_LEN;

    /// XChaCha20-Poly1305: its nonces are long enough to be drawn at random for ever. After 2⁸⁰ entries under one key two
    /// have the same with a chance of 2⁻³²; with 96 bits that would be so after 2³² entries, which a busy cache writes.
    #[derive(Clone)]
    pub(super) struct Key {
        pub(super) id: KeyId,
        /// Overwrites the key when it is dropped.
        cipher: XChaCha20Poly1305,
    }

    impl Key {
        pub(super) fn read(setting: &str, text: &str) -> Result<Self, Error> {
            let key = bytes(text).ok_or_else(|| {
                let forms = "a key has 32 bytes, written as 64 hex digits or in base64";
                Error::new(ErrorKind::Config, format!("{setting}: {forms}"))
            })?;
            // One way: who has the id learns nothing about the key.
            let id = blake3::derive_key("cache-runtime 2026-11 key id", &key);
            Ok(Self { id: [id[0], id[1], id[2], id[3]], cipher: XChaCha20Poly1305::new(&key.into()) })
        }

        pub(super) fn seal(&self, out: &mut Vec<u8>, start: usize, bound: &[u8]) -> Result<(), Error> {
            let none = |_| Error::new(ErrorKind::Unavailable, "the system gave no random bytes for a nonce");
            let nonce = XNonce::try_generate().map_err(none)?;
            let tag = self.cipher.encrypt_inout_detached(&nonce, bound, (&mut out[start..]).into());
            let tag = tag.map_err(|_| Error::new(ErrorKind::TooLarge, "value is too long to be encrypted"))?;
            out.splice(start..start, nonce);
            out.extend_from_slice(&tag);
            Ok(())
        }

        pub(super) fn open(&self, payload: &[u8], bound: &[u8]) -> Option<Vec<u8>> {
            let (nonce, rest) = payload.split_first_chunk::<NONCE_LEN>()?;
            let (sealed, tag) = rest.split_last_chunk::<TAG_LEN>()?;
            let mut value = sealed.to_vec();
            let tag = Tag::from(*tag);
            let opened =
                self.cipher.decrypt_inout_detached(&XNonce::from(*nonce), bound, value.as_mut_slice().into(), &tag);
            opened.ok().map(|()| value)
        }
    }

    /// 32 bytes in hex or base64 (either alphabet, with padding or without). How long it takes does not depend on the digits.
    fn bytes(text: &str) -> Option<[u8; 32]> {
        use base64ct::{Base64, Base64Unpadded, Base64Url, Base64UrlUnpadded, Encoding};

        let mut key = [0; 32];
        let whole = |len: Option<usize>| len == Some(32);
        let found = whole(base16ct::mixed::decode(text, &mut key).ok().map(<[u8]>::len))
            || whole(Base64::decode(text, &mut key).ok().map(<[u8]>::len))
            || whole(Base64Unpadded::decode(text, &mut key).ok().map(<[u8]>::len))
            || whole(Base64Url::decode(text, &mut key).ok().map(<[u8]>::len))
            || whole(Base64UrlUnpadded::decode(text, &mut key).ok().map(<[u8]>::len));
        found.then_some(key)
    }
}
