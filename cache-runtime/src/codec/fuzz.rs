//! What the fuzz target and its stable twin run: any bytes, as an entry and as a value, with every codec, as some types,
//! with keys and without. It must not panic, hang, overflow the stack or ask for much memory.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::LazyLock;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Codec, Keyring, Wire, unpack, verify};
use crate::envelope::{Envelope, reseal};

/// The name under which the entries lie.
pub(crate) const NAME: &[u8] = b"svc:v1:fuzz";

/// Keys that are no secret, where there is encryption.
pub(crate) static KEYS: LazyLock<Keyring> = LazyLock::new(|| {
    let keys = ["01", "02"].map(|byte| byte.repeat(32));
    Keyring::read(keys.iter().map(|key| ("key", key.as_str()))).unwrap_or_default()
});

/// A type with something of everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) id: u64,
    pub(crate) small: (u8, i8, bool, char),
    pub(crate) big: i128,
    pub(crate) float: f64,
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) tags: Vec<String>,
    pub(crate) map: BTreeMap<String, Option<i32>>,
    pub(crate) array: [u16; 3],
    pub(crate) time: std::time::Duration,
    pub(crate) tree: Option<Box<Tree>>,
}

/// A type that may be as deep as the bytes say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Tree {
    /// Nothing below.
    Leaf,
    /// One below.
    One(Box<Self>),
    /// Some below.
    Many { left: Option<Box<Self>>, rest: Vec<Self> },
}

/// A type that looks at the data first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum Tagged {
    /// With a field.
    A { x: Option<u8> },
    /// With one of its own kind.
    B { inner: Box<Self> },
}

/// Another such type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u32),
    Flat(Flat),
    List(Vec<Self>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    a: Option<u8>,
    #[serde(flatten)]
    rest: HashMap<String, u64>,
}

/// The second byte says how much of the end is the plain value; the rest is the entry. The whole is also taken for a value.
pub(crate) fn decode(data: &[u8]) {
    for codec in [Codec::Bincode, Codec::Json, Codec::MsgPack] {
        values(codec, data);
    }
    let Some((&[mode, split], rest)) = data.split_first_chunk() else { return };
    let at = rest.len().saturating_sub(usize::from(split));
    let (envelope, plain) = if mode & 1 == 0 { (rest, None) } else { (&rest[..at], Some(&rest[at..])) };
    entry(envelope, plain);
    // With a right checksum, or nothing would ever come further.
    entry(&reseal(envelope, NAME, plain), plain);
    entry(&reseal(envelope, NAME, None), plain);
}

fn values(codec: Codec, bytes: &[u8]) {
    fn value<V: DeserializeOwned>(codec: Codec, bytes: &[u8]) {
        drop(codec.decode::<V>(bytes));
    }
    value::<Sample>(codec, bytes);
    value::<Tree>(codec, bytes);
    value::<Tagged>(codec, bytes);
    value::<Untagged>(codec, bytes);
    value::<Flat>(codec, bytes);
    value::<serde_json::Value>(codec, bytes);
    value::<Vec<()>>(codec, bytes);
    value::<Vec<Vec<String>>>(codec, bytes);
    value::<HashMap<u8, Vec<[u64; 8]>>>(codec, bytes);
    value::<std::time::SystemTime>(codec, bytes);
    value::<(std::net::IpAddr, std::path::PathBuf, Box<str>, std::num::NonZeroU8)>(codec, bytes);
}

fn entry(bytes: &[u8], plain: Option<&[u8]>) {
    let Ok(envelope) = Envelope::parse(NAME, bytes, plain) else { return };
    let none = Keyring::default();
    let codecs = [Codec::Bincode, Codec::Json, Codec::MsgPack, Codec::Json];
    for (codec, (encrypt, keys)) in
        codecs.into_iter().zip([(false, &*KEYS), (true, &KEYS), (false, &KEYS), (true, &none)])
    {
        let wire = Wire { codec, compress_above: None, encrypt, keys, name: NAME };
        let _ = verify(&wire, &envelope);
        drop(unpack::<Sample>(&wire, &envelope));
        drop(unpack::<Tree>(&wire, &envelope));
        drop(unpack::<Tagged>(&wire, &envelope));
        let _ = unpack::<u64>(&wire, &envelope);
        let _ = super::relabel(&wire, &envelope, envelope.head.cells.clone());
    }
}
