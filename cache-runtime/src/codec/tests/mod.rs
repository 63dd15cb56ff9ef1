//! Values into images and back, by theme. Here: what the themes share.

mod golden;
mod hostile;
mod random;
mod schema;
mod sealed;
mod shape;
mod wire;

use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::LazyLock;

use super::*;
use crate::envelope::{Envelope, Head, Outcome, Reject};
use crate::store::Image;

pub(super) const NAME: &[u8] = b"svc:v1:user:42";

/// No keys.
pub(super) static NONE: LazyLock<Keyring> = LazyLock::new(Keyring::default);

/// The codecs that this build has.
pub(super) fn codecs() -> impl Iterator<Item = Codec> {
    [Codec::Bincode, Codec::Json, Codec::MsgPack].into_iter().filter(|codec| codec.compiled_in())
}

pub(super) fn wire(codec: Codec) -> Wire<'static> {
    Wire { codec, compress_above: None, encrypt: false, keys: &NONE, name: NAME }
}

pub(super) fn head<'h>(outcome: Outcome) -> Head<'h> {
    let cells = [(&b"svc:v1:t:user:42"[..], [1; 16]), (b"svc:v1:*", [2; 16])];
    let cells = cells.into_iter().map(|(name, nonce)| (Cow::Borrowed(name), nonce)).collect();
    Head { outcome, template: 3, created_ms: 1_700_000_000_000, expires_ms: 1_700_000_300_000, cost_us: 1500, cells }
}

pub(super) fn parse(image: &Image) -> Result<Envelope<'_>, Reject> {
    Envelope::parse(NAME, &image.envelope, image.plain.as_deref())
}

pub(super) fn packed<V: Serialize + DeserializeOwned>(wire: &Wire<'_>, value: &V) -> Image {
    pack(wire, &head(Outcome::Some), Some(value)).unwrap_or_else(|error| panic!("{}: {error}", wire.codec))
}

pub(super) fn read<V: Serialize + DeserializeOwned>(wire: &Wire<'_>, image: &Image) -> Result<V, Reject> {
    unpack(wire, &parse(image)?)
}

/// A value comes back from every codec.
pub(super) fn comes_back<V: Serialize + DeserializeOwned + PartialEq + Debug>(value: &V) {
    for codec in codecs() {
        let wire = wire(codec);
        assert_eq!(read::<V>(&wire, &packed(&wire, value)).as_ref(), Ok(value), "{codec}");
    }
}
