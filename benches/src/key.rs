//! Building a key, and nothing else.

use cache_runtime::__private::{KeyWriter, template_seed};

use crate::data::{HOT, ZIPF};
use crate::harness::{Group, plain};

const PREFIX: &[u8] = b"svc:v1:user:";

/// A key that somebody wrote by hand to be quick: literal and digits straight into an array on the stack.
pub(crate) struct StackKey {
    bytes: [u8; 64],
    len: usize,
}

impl StackKey {
    #[inline]
    pub(crate) fn of(mut id: u64) -> Self {
        let mut bytes = [0; 64];
        bytes[..PREFIX.len()].copy_from_slice(PREFIX);
        let digits = id.checked_ilog10().unwrap_or(0) as usize + 1;
        let len = PREFIX.len() + digits;
        for at in (PREFIX.len()..len).rev() {
            bytes[at] = b'0' + (id % 10) as u8;
            id /= 10;
        }
        Self { bytes, len }
    }

    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// As an expansion does it.
fn ours(prefix: &[u8], id: u64) -> KeyWriter {
    const SEED: u64 = template_seed("user:<user_id>");
    let mut w = KeyWriter::with_prefix(prefix, SEED);
    w.lit("user:");
    w.part(&id);
    w.finish();
    w
}

fn itoa_key(id: u64) -> ([u8; 64], usize) {
    let mut bytes = [0; 64];
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(id).as_bytes();
    let len = PREFIX.len() + digits.len();
    bytes[..PREFIX.len()].copy_from_slice(PREFIX);
    bytes[PREFIX.len()..len].copy_from_slice(digits);
    (bytes, len)
}

pub(crate) fn groups() -> Vec<Group> {
    // Of a length that the compiler does not know.
    let prefix = std::hint::black_box(&b"svc:v1:"[..]);
    vec![
        Group::new("key: build `svc:v1:user:<id>`")
            .case("hand-written, digits in place", plain(&ZIPF, |id| StackKey::of(id).as_bytes().len()))
            .case("hand-written, itoa", plain(&ZIPF, |id| itoa_key(id).1))
            .case("ours, KeyWriter", plain(&ZIPF, move |id| ours(prefix, id).as_bytes().len()))
            .case("format!", plain(&ZIPF, |id| format!("svc:v1:user:{id}"))),
        Group::new("memoize: sync hit, one hot key")
            .case("cached, concurrent_cached(max_size, ttl), u64", plain(&HOT, crate::peer::cached_number))
            .case("ours, #[memoize(key = \"memo:<user_id>\")]", plain(&HOT, crate::ours::memoized))
            .case("ours, #[memoize] (key = auto)", plain(&HOT, crate::ours::memoized_auto)),
    ]
}
