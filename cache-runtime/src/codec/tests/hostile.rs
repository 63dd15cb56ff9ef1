//! Bytes that lie about lengths and depth: neither memory, nor stack, nor time beyond what the bytes are worth.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde::de::{IgnoredAny, SeqAccess, Visitor};

use super::*;

/// Bytes are no such value, and finding that out takes little memory.
fn refused<V: DeserializeOwned>(codec: Codec, bytes: &[u8]) {
    if !codec.compiled_in() {
        return;
    }
    let info = allocation_counter::measure(|| {
        assert_eq!(codec.decode::<V>(bytes).err().map(|error| error.kind()), Some(ErrorKind::Codec));
    });
    let most = 64 * bytes.len() as u64 + 1024;
    assert!(info.bytes_max <= most, "{codec}, {}: {} bytes", std::any::type_name::<V>(), info.bytes_max);
}

/// A list that reserves whatever room it is told to.
#[derive(Debug)]
struct Trusting;

impl<'de> Deserialize<'de> for Trusting {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reserve;
        impl<'de> Visitor<'de> for Reserve {
            type Value = Trusting;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Trusting, A::Error> {
                let mut list: Vec<u64> = Vec::with_capacity(seq.size_hint().unwrap_or(0));
                while let Some(element) = seq.next_element()? {
                    list.push(element);
                }
                Ok(Trusting)
            }
        }
        deserializer.deserialize_seq(Reserve)
    }
}

#[test]
fn a_length_that_the_bytes_cannot_keep_reserves_no_room() {
    let codec = Codec::Bincode;
    // 60 000, 64 MiB less a little, 4 GiB, 2⁶⁴ less 1.
    for claim in [
        &[0xFB, 0x60, 0xEA][..],
        &[0xFC, 0, 0, 0xFF, 0x03],
        &[0xFC, 0xFF, 0xFF, 0xFF, 0xFF],
        &[&[0xFD][..], &[0xFF; 8]].concat(),
    ] {
        let bytes = [claim, b"abc"].concat();
        refused::<String>(codec, &bytes);
        refused::<Box<str>>(codec, &bytes);
        refused::<std::ffi::CString>(codec, &bytes);
        refused::<Vec<u8>>(codec, &bytes);
        refused::<Vec<u64>>(codec, &bytes);
        refused::<Vec<[u64; 16]>>(codec, &bytes);
        refused::<Vec<Vec<u64>>>(codec, &bytes);
        refused::<HashMap<u64, u64>>(codec, &bytes);
        refused::<BTreeMap<String, String>>(codec, &bytes);
        refused::<Trusting>(codec, &bytes);
        // Each inner list claims anew.
        let nested = [&[200][..], &claim.repeat(50)].concat();
        refused::<Vec<Vec<[u64; 4]>>>(codec, &nested);
    }
    for marker in [0xDB, 0xC6, 0xDD, 0xDF, 0xC9] {
        for claim in [[0, 0xFF, 0xFF, 0xFF], [0xFF; 4]] {
            let bytes = [&[marker][..], &claim, b"abc"].concat();
            refused::<String>(Codec::MsgPack, &bytes);
            refused::<Vec<u8>>(Codec::MsgPack, &bytes);
            refused::<Vec<[u64; 16]>>(Codec::MsgPack, &bytes);
            refused::<HashMap<u64, u64>>(Codec::MsgPack, &bytes);
            refused::<serde_json::Value>(Codec::MsgPack, &bytes);
            refused::<IgnoredAny>(Codec::MsgPack, &bytes);
            refused::<Trusting>(Codec::MsgPack, &bytes);
        }
    }
}

#[test]
fn elements_that_take_no_bytes_are_bounded_too() {
    if !Codec::Bincode.compiled_in() {
        return;
    }
    // 2⁶³ units would be counted for ever.
    let endless = [&[0xFD][..], &(1_u64 << 63).to_le_bytes()].concat();
    refused::<Vec<()>>(Codec::Bincode, &endless);
    refused::<Vec<[u8; 0]>>(Codec::Bincode, &endless);
    refused::<HashMap<(), ()>>(Codec::Bincode, &endless);
    refused::<Vec<Vec<()>>>(Codec::Bincode, &[&[100][..], &[0xFB, 0xFF, 0xFF].repeat(100)].concat());

    comes_back(&vec![(); 60_000]);
    let error = pack(&wire(Codec::Bincode), &head(Outcome::Some), Some(&vec![(); 70_000])).unwrap_err();
    assert!(error.kind() == ErrorKind::Codec && error.to_string().contains("take no bytes"), "{error}");
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum List {
    End,
    More(Box<Self>),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Node {
    next: Option<Box<Self>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Lists(Vec<Self>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Tuple(Box<(u8, Option<Self>)>);

/// Never ends, whatever the bytes are.
#[derive(Debug, Serialize, Deserialize)]
struct Endless(Box<Self>);

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    List(Vec<Self>),
    Nothing,
}

#[derive(Debug, Serialize, Deserialize)]
struct Ignores {
    a: Option<u8>,
}

#[test]
fn no_depth_of_nesting_overflows_the_stack() {
    const DEEP: usize = 1 << 20;
    let again = |part: &[u8], end: &[u8]| [&part.repeat(DEEP)[..], end].concat();

    let bincode = Codec::Bincode;
    refused::<List>(bincode, &again(&[1], &[0]));
    refused::<Node>(bincode, &again(&[1], &[0]));
    refused::<Lists>(bincode, &again(&[1], &[0]));
    refused::<Tuple>(bincode, &again(&[7, 1], &[7, 0]));
    refused::<Endless>(bincode, &[]);

    let json = Codec::Json;
    refused::<List>(json, &again(b"{\"More\":", b"\"End\""));
    refused::<Node>(json, &again(b"{\"next\":", b"null"));
    refused::<Lists>(json, &again(b"[", b""));
    refused::<Untagged>(json, &again(b"[", b""));
    refused::<serde_json::Value>(json, &again(b"[", b""));
    refused::<Ignores>(json, &again(b"{\"b\":", b""));
    refused::<Endless>(json, b"1");

    let msgpack = Codec::MsgPack;
    refused::<List>(msgpack, &again(&[0x81, 0xA4, b'M', b'o', b'r', b'e'], &[0xA3, b'E', b'n', b'd']));
    refused::<Node>(msgpack, &again(&[0x81, 0xA4, b'n', b'e', b'x', b't'], &[0xC0]));
    refused::<Node>(msgpack, &again(&[0x91], &[0xC0]));
    refused::<Lists>(msgpack, &again(&[0x91], &[0x90]));
    refused::<Untagged>(msgpack, &again(&[0x91], &[0x90]));
    refused::<serde_json::Value>(msgpack, &again(&[0x91], &[0x90]));
    refused::<serde_json::Value>(msgpack, &again(&[0x81, 0xA1, b'a'], &[0x90]));
    refused::<IgnoredAny>(msgpack, &again(&[0x91], &[0x90]));
    refused::<Endless>(msgpack, &[1]);
}

#[test]
fn values_as_deep_as_the_limit_come_back_and_deeper_ones_are_refused_when_they_are_written() {
    let list = |depth| (0..depth).fold(List::End, |below, _| List::More(Box::new(below)));
    // An enum is one level, and so is its end.
    comes_back(&list(60));
    let too_deep = list(200);
    for codec in codecs() {
        let error = pack(&wire(codec), &head(Outcome::Some), Some(&too_deep)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec, "{codec}");
        // serde_json has a limit of its own, and says nothing about it that could be told from other faults.
        assert!(codec == Codec::Json || error.to_string().contains("128 levels"), "{error}");
    }
    let depth = |codec: Codec| {
        (1..200).find(|depth| codec.encode(&list(*depth)).and_then(|bytes| codec.decode::<List>(&bytes)).is_err())
    };
    for codec in codecs() {
        assert_eq!(depth(codec), Some(128), "{codec}");
    }
}

#[test]
fn what_is_left_over_is_refused_whatever_it_is() {
    for codec in codecs() {
        let mut bytes = codec.encode(&(7_u8, "text", Some(1.5_f64))).unwrap();
        codec.decode::<(u8, String, Option<f64>)>(&bytes).unwrap();
        for over in [0, 1, 0x91, 0xC0, 0xC1, 0xCB, 0xD9, 0xDC, 0xFF, b'"', b',', b'['] {
            bytes.push(over);
            let error = codec.decode::<(u8, String, Option<f64>)>(&bytes).unwrap_err();
            assert!(error.to_string().contains("left over"), "{codec}, {over:#x}: {error}");
            bytes.pop();
        }
    }
}

#[cfg(feature = "compression")]
#[test]
fn a_block_that_claims_to_be_long_reserves_no_room() {
    use crate::codec::compress::decompress;
    use crate::envelope::put_varint;

    let block = |claim: u64, rest: &[u8]| {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, claim);
        bytes.extend_from_slice(rest);
        bytes
    };
    for (claim, rest, reject) in [
        (u64::MAX, &[0; 8][..], Reject::TooLarge),
        ((64 << 20) + 1, &[0; 8], Reject::TooLarge),
        (64 << 20, &[0; 8], Reject::Corrupt),
        (255 * 8 + 1, &[0; 8], Reject::Corrupt),
        (0, &[0xFF; 8], Reject::Corrupt),
        (100, &[0x10, b'a'], Reject::Corrupt),
        (1, &[0x10], Reject::Corrupt),
    ] {
        let bytes = block(claim, rest);
        let info = allocation_counter::measure(|| assert_eq!(decompress(&bytes), Err(reject), "{claim}"));
        assert!(info.bytes_max <= 255 * bytes.len() as u64, "{claim}: {}", info.bytes_max);
    }
    assert_eq!(decompress(&[]), Err(Reject::Truncated));
}
