//! Typed values into images and back: encode, prove, compress, encrypt, enclose.

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::compress::{self, compress, decompress};
use super::format::{self, MAX_LEN, decode, encode, explain};
use super::keyring::{Keyring, SEAL_LEN};
use super::walk;
use crate::envelope::{Cells, Codec, Envelope, Form, Head, Limit, Outcome, Place, Reject, seal, write_header};
use crate::error::{Error, ErrorKind};
use crate::store::Image;

/// How the entry under one name is written, and what is accepted as it.
#[derive(Clone, Copy)]
pub(crate) struct Wire<'w> {
    /// How values are encoded. Values in another encoding are refused.
    pub(crate) codec: Codec,
    /// Values of more bytes are compressed, where that makes them shorter.
    pub(crate) compress_above: Option<u64>,
    /// Whether values are encrypted. If so, what is not is refused; if not, what is encrypted with a key of ours is
    /// accepted all the same: it is no less ours, and a function that stops to ask for encryption keeps its entries.
    pub(crate) encrypt: bool,
    /// The keys.
    pub(crate) keys: &'w Keyring,
    /// The physical name of the entry, to which its bytes are bound.
    pub(crate) name: &'w [u8],
}

impl Wire<'_> {
    /// Whether all that is asked for can be done: what [`pack`] would find out at the first value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] names the feature that is missing; [`ErrorKind::Config`] says that there is no key.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if !self.codec.compiled_in() {
            return Err(self.codec.missing());
        }
        if self.compress_above.is_some() && !cfg!(feature = "compression") {
            return Err(compress::unsupported("compress_above"));
        }
        if self.encrypt { self.keys.first().map(drop) } else { Ok(()) }
    }

    /// What a payload is bound to beside its header.
    fn bound(&self, header: &[u8]) -> Vec<u8> {
        let len = u32::try_from(self.name.len()).unwrap_or(u32::MAX);
        [&len.to_le_bytes()[..], self.name, header].concat()
    }
}

/// The image of an entry: what `head` says, and the value (or error) if it has one.
///
/// # Errors
///
/// [`ErrorKind::Codec`] for a value that cannot be encoded, or that does not come back from its bytes as it was;
/// [`ErrorKind::TooLarge`] for one over 64 MiB; and as [`Wire::check`]. Never is a value stored in the clear that was to
/// be encrypted.
pub(crate) fn pack<V: Serialize + DeserializeOwned>(
    wire: &Wire<'_>,
    head: &Head<'_>,
    value: Option<&V>,
) -> Result<Image, Error> {
    wire.check()?;
    let fits = match head.outcome {
        Outcome::Some => value.is_some(),
        Outcome::None | Outcome::Hint => value.is_none(),
        Outcome::Err => true,
    };
    if !fits {
        return Err(Error::new(ErrorKind::Codec, "outcome and value of an entry do not go together"));
    }
    let Some(value) = value else {
        return enclose(wire, head, &NOTHING, Cow::Borrowed(&[]));
    };
    let bytes = encode(wire.codec, value)?;
    let (back, fingerprint) = decode::<V>(wire.codec, &bytes).map_err(|fault| explain(wire.codec, fault))?;
    let shape = |value| walk::shape(value, wire.codec.human_readable());
    if shape(value) != shape(&back) {
        return Err(wire.codec.error(
            "value comes back as another one: its type does not read what it writes, or the codec cannot express it",
        ));
    }
    let short = wire.compress_above.filter(|&above| bytes.len() as u64 > above).and_then(|_| compress(&bytes));
    let compressed = short.is_some();
    let bytes = short.unwrap_or(bytes);
    // An error does not lie where other programs look for the value.
    let alone = wire.codec == Codec::Json && !compressed && !wire.encrypt && head.outcome == Outcome::Some;
    let place = if alone { Place::Plain } else { Place::Inside };
    let form = Form { codec: Some(wire.codec), compressed, key: None, place, fingerprint, len: 0 };
    enclose(wire, head, &form, Cow::Owned(bytes))
}

/// The image of a counter: a plain number, to which the server may add while the envelope stays as it is. It is JSON
/// whatever the codec is, and read as any other value is.
///
/// # Errors
///
/// [`ErrorKind::Unsupported`] with `encrypt`: a server cannot add to what it cannot read.
pub(crate) fn pack_counter(wire: &Wire<'_>, head: &Head<'_>, number: i64) -> Result<Image, Error> {
    if wire.encrypt {
        return Err(Error::new(ErrorKind::Unsupported, "counters of a shared cache cannot be encrypted"));
    }
    let bytes = encode(Codec::Json, &number)?;
    let (_, fingerprint) = decode::<i64>(Codec::Json, &bytes).map_err(|fault| explain(Codec::Json, fault))?;
    let (codec, place) = (Some(Codec::Json), Place::Counter);
    let form = Form { codec, compressed: false, key: None, place, fingerprint, len: 0 };
    enclose(wire, &Head { outcome: Outcome::Some, ..head.clone() }, &form, Cow::Owned(bytes))
}

/// The value (or error) in an envelope that was parsed under the same name.
///
/// # Errors
///
/// Why the bytes are a miss.
pub(crate) fn unpack<V: Serialize + DeserializeOwned>(wire: &Wire<'_>, envelope: &Envelope<'_>) -> Result<V, Reject> {
    let payload = open(wire, envelope)?;
    let codec = envelope.codec.ok_or(Reject::Shape)?;
    // Which decoder runs is for the configuration to say, not for the bytes.
    if codec != wire.codec && envelope.place != Place::Counter {
        return Err(Reject::Codec);
    }
    let payload = if envelope.compressed { Cow::Owned(decompress(&payload)?) } else { payload };
    if payload.len() > MAX_LEN {
        return Err(Reject::TooLarge);
    }
    match decode::<V>(codec, &payload) {
        Ok((value, fingerprint)) if fingerprint == envelope.fingerprint => Ok(value),
        Ok(_) => Err(Reject::Shape),
        Err(format::Undecodable::Missing) => Err(Reject::Codec),
        Err(_) => Err(Reject::Shape),
    }
}

/// Whether an envelope is as ours are. It has to be asked before anything is believed that an entry without a value says
/// ([`Outcome::None`], [`Outcome::Hint`]); [`unpack`] and [`relabel`] ask it by themselves.
///
/// # Errors
///
/// Why the bytes are a miss.
pub(crate) fn verify(wire: &Wire<'_>, envelope: &Envelope<'_>) -> Result<(), Reject> {
    open(wire, envelope).map(drop)
}

/// The same value and life, with other cells.
///
/// # Errors
///
/// [`ErrorKind::Codec`] where the envelope is one that [`verify`] refuses, and as [`pack`].
pub(crate) fn relabel(wire: &Wire<'_>, envelope: &Envelope<'_>, cells: Cells<'_>) -> Result<Image, Error> {
    remade(wire, envelope, &Head { cells, ..envelope.head.clone() })
}

/// The same value and cells, with another expiry.
///
/// # Errors
///
/// As [`relabel`].
pub(crate) fn relive(wire: &Wire<'_>, envelope: &Envelope<'_>, expires_ms: u64) -> Result<Image, Error> {
    remade(wire, envelope, &Head { expires_ms, ..envelope.head.clone() })
}

fn remade(wire: &Wire<'_>, envelope: &Envelope<'_>, head: &Head<'_>) -> Result<Image, Error> {
    let payload = open(wire, envelope).map_err(|reject| Error::new(ErrorKind::Codec, reject.to_string()))?;
    let form = Form {
        codec: envelope.codec,
        compressed: envelope.compressed,
        key: None,
        place: envelope.place,
        fingerprint: envelope.fingerprint,
        len: 0,
    };
    enclose(&Wire { encrypt: envelope.encrypted(), ..*wire }, head, &form, payload)
}

const NOTHING: Form = Form { codec: None, compressed: false, key: None, place: Place::Inside, fingerprint: 0, len: 0 };

/// What was put into an envelope, decrypted.
fn open<'b>(wire: &Wire<'_>, envelope: &Envelope<'b>) -> Result<Cow<'b, [u8]>, Reject> {
    match envelope.key {
        None if wire.encrypt => Err(Reject::Unsealed),
        None => Ok(Cow::Borrowed(envelope.payload)),
        Some(key) => wire.keys.open(key, envelope.payload, &wire.bound(envelope.header)).map(Cow::Owned),
    }
}

/// Header, payload, encryption, checksum. `form` need not say which key and how long.
fn enclose(wire: &Wire<'_>, head: &Head<'_>, form: &Form, bytes: Cow<'_, [u8]>) -> Result<Image, Error> {
    let mut form = *form;
    if form.place == Place::Inside {
        form.len = bytes.len();
    }
    if wire.encrypt {
        form.key = Some(wire.keys.first()?);
        form.len += SEAL_LEN;
    }
    let mut envelope = write_header(head, &form).map_err(|limit| {
        let kind = if limit == Limit::Cells { ErrorKind::TooLarge } else { ErrorKind::InvalidKey };
        Error::new(kind, limit.to_string())
    })?;
    if form.place != Place::Inside {
        let covered = (form.place == Place::Plain).then_some(&*bytes);
        seal(&mut envelope, wire.name, covered);
        return Ok(Image { envelope, plain: Some(bytes.into_owned()) });
    }
    let start = envelope.len();
    if wire.encrypt {
        let bound = wire.bound(&envelope);
        envelope.extend_from_slice(&bytes);
        wire.keys.seal(&mut envelope, start, &bound)?;
    } else {
        envelope.extend_from_slice(&bytes);
    }
    seal(&mut envelope, wire.name, None);
    Ok(Image { envelope, plain: None })
}
