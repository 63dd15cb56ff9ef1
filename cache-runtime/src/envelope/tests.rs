//! The wire format by itself: what was written is read, and whatever else comes is refused without a panic.

use std::borrow::Cow;

use proptest::prelude::*;

use super::*;

const NAME: &[u8] = b"svc:v1:user:42";

fn form(codec: Option<Codec>, len: usize) -> Form {
    Form { codec, compressed: false, key: None, place: Place::Inside, fingerprint: 7, len }
}

fn head<'h>(outcome: Outcome) -> Head<'h> {
    let cells = [(&b"svc:v1:t:user:42"[..], [1; 16]), (b"svc:v1:*", [2; 16])];
    let cells = cells.into_iter().map(|(name, nonce)| (Cow::Borrowed(name), nonce)).collect();
    Head { outcome, template: 3, created_ms: 1_700_000_000_000, expires_ms: 1_700_000_300_000, cost_us: 1500, cells }
}

/// An envelope with this payload, whatever the flags say about it.
fn build(head: &Head<'_>, form: &Form, payload: &[u8], plain: Option<&[u8]>) -> Vec<u8> {
    let mut out = write_header(head, form).unwrap();
    out.extend_from_slice(payload);
    seal(&mut out, NAME, plain);
    out
}

fn value() -> Vec<u8> {
    build(&head(Outcome::Some), &form(Some(Codec::Json), 5), b"12345", None)
}

#[test]
fn what_was_written_is_read_and_its_buffer_was_large_enough() {
    let mut out = write_header(&head(Outcome::Some), &form(Some(Codec::MsgPack), 5)).unwrap();
    let room = out.capacity();
    out.extend_from_slice(b"12345");
    seal(&mut out, NAME, None);
    assert_eq!(out.capacity(), room);

    let read = Envelope::parse(NAME, &out, None).unwrap();
    assert_eq!(read.head, head(Outcome::Some));
    assert_eq!((read.codec, read.fingerprint, read.payload), (Some(Codec::MsgPack), 7, &b"12345"[..]));
    assert!(!read.compressed && !read.encrypted() && !read.plain());
    assert_eq!(read.header.len() + 5 + CHECKSUM, out.len());
}

#[test]
fn numbers_at_their_ends_are_read_as_they_were() {
    fn ends<'h>() -> Head<'h> {
        Head { created_ms: u64::MAX, expires_ms: 0, cost_us: u64::MAX, template: u64::MAX, ..head(Outcome::None) }
    }
    let out = build(&ends(), &form(None, 0), b"", None);
    assert_eq!(Envelope::parse(NAME, &out, None).unwrap().head, ends());
}

#[test]
fn parsing_copies_no_name_and_allocates_for_more_than_six_cells_only() {
    let with = |count: u8| {
        let cells = (0..count).map(|i| (Cow::Owned(vec![i + 1; 900]), [i; 16])).collect();
        build(&Head { cells, ..head(Outcome::Hint) }, &form(None, 0), b"", None)
    };
    for (count, allocations) in [(6, 0), (255, 1)] {
        let bytes = with(count);
        let info = allocation_counter::measure(|| {
            let envelope = Envelope::parse(NAME, &bytes, None).unwrap();
            assert!(envelope.head.cells.iter().all(|(name, _)| matches!(name, Cow::Borrowed(_))));
        });
        assert_eq!(info.count_total, allocations, "{count} cells");
    }
}

#[test]
fn what_is_not_ours_is_foreign() {
    for bytes in [&b""[..], b"{}", b"[1]", b"42", b"\"text\"", b"\xCA", b"\xCA\xC4", b"\xCA\xC4\xE4\x01", &[0; 64]] {
        assert_eq!(Envelope::parse(NAME, bytes, None), Err(Reject::Foreign), "{bytes:x?}");
    }
}

#[test]
fn another_wire_version_is_refused_as_such_whatever_follows() {
    for version in (0..=u8::MAX).filter(|version| *version != VERSION) {
        let mut bytes = value();
        bytes[3] = version;
        assert_eq!(Envelope::parse(NAME, &bytes, None), Err(Reject::Version));
        assert_eq!(Envelope::parse(NAME, &bytes[..4], None), Err(Reject::Version));
    }
}

#[test]
fn every_truncation_is_refused_and_so_is_what_follows() {
    let bytes = value();
    for len in 0..bytes.len() {
        let reject = Envelope::parse(NAME, &bytes[..len], None).unwrap_err();
        assert_eq!(reject, if len < 3 { Reject::Foreign } else { Reject::Truncated }, "{len}");
    }
    assert_eq!(Envelope::parse(NAME, &[&bytes[..], b"\0"].concat(), None), Err(Reject::Corrupt));
}

#[test]
fn every_flipped_bit_is_found_also_in_the_value_that_lies_elsewhere() {
    let inside = value();
    let plain = b"{\"name\":\"Ada\"}";
    let shape = Form { place: Place::Plain, ..form(Some(Codec::Json), 0) };
    let beside = build(&head(Outcome::Some), &shape, b"", Some(plain));
    assert_eq!(Envelope::parse(NAME, &beside, Some(plain)).unwrap().payload, plain);
    for (bytes, plain) in [(inside, None), (beside.clone(), Some(&plain[..]))] {
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Envelope::parse(NAME, &flipped, plain).is_err(), "bit {bit}");
        }
    }
    for bit in 0..plain.len() * 8 {
        let mut flipped = plain.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Envelope::parse(NAME, &beside, Some(&flipped)), Err(Reject::Corrupt), "bit {bit}");
    }
}

#[test]
fn an_entry_under_a_name_that_is_not_its_own_is_corrupt() {
    for name in [&b"svc:v1:user:43"[..], b"svc:v1:user:4", b"", b"svc:v1:user:42 "] {
        assert_eq!(Envelope::parse(name, &value(), None), Err(Reject::Corrupt));
    }
}

#[test]
fn a_plain_value_that_is_gone_or_was_not_expected_is_refused() {
    let shape = Form { place: Place::Plain, ..form(Some(Codec::Json), 0) };
    let beside = build(&head(Outcome::Some), &shape, b"", Some(b"1"));
    assert_eq!(Envelope::parse(NAME, &beside, None), Err(Reject::Truncated));
    assert_eq!(Envelope::parse(NAME, &value(), Some(b"1")), Err(Reject::Corrupt));
}

#[test]
fn a_counter_is_read_whatever_its_number_has_become_and_is_never_long() {
    let shape = Form { place: Place::Counter, ..form(Some(Codec::Json), 0) };
    let beside = build(&head(Outcome::Some), &shape, b"", None);
    for number in ["1", "-9223372036854775808", "x"] {
        assert_eq!(Envelope::parse(NAME, &beside, Some(number.as_bytes())).unwrap().payload, number.as_bytes());
    }
    assert_eq!(Envelope::parse(NAME, &beside, Some(&[b'1'; 21])), Err(Reject::Corrupt));
    assert_eq!(Envelope::parse(NAME, &beside, None), Err(Reject::Truncated));
}

#[test]
fn flags_that_do_not_go_together_are_corrupt() {
    // Each is an envelope whose flags alone were changed, with a right checksum.
    let with_value = value();
    let without = build(&head(Outcome::None), &form(None, 0), b"", None);
    let (json, compressed, encrypted) = (2 << flag::CODEC_SHIFT, flag::COMPRESSED, flag::ENCRYPTED);
    for (bytes, flags) in [
        (&with_value, 1 | json),                                       // none, with a value
        (&with_value, 3 | json),                                       // hint, with a value
        (&without, 0),                                                 // some, without one
        (&without, 1 | compressed),                                    // nothing, compressed
        (&without, 1 | flag::PLAIN),                                   // nothing, elsewhere
        (&with_value, json | flag::COUNTER),                           // a counter inside
        (&with_value, 1 << flag::CODEC_SHIFT | flag::PLAIN),           // plain bincode
        (&with_value, json | flag::PLAIN | compressed),                // plain, but not
        (&with_value, json | flag::PLAIN | encrypted),                 // plain, but not
        (&with_value, json | flag::PLAIN | flag::COUNTER | encrypted), // an encrypted counter
    ] {
        let mut changed = bytes.clone();
        changed[4] = flags;
        let reject = Envelope::parse(NAME, &reseal(&changed, NAME, None), Some(b"1")).unwrap_err();
        assert_eq!(reject, Reject::Corrupt, "{flags:08b}");
    }
    // The value is both here and there.
    let mut both = with_value;
    both[4] = json | flag::PLAIN;
    assert_eq!(Envelope::parse(NAME, &reseal(&both, NAME, Some(b"1")), Some(b"1")), Err(Reject::Corrupt));
}

/// A header up to its cells, and then these bytes.
fn cells_are(bytes: &[u8]) -> Vec<u8> {
    let none = Head { cells: Cells::new(), ..head(Outcome::Hint) };
    let mut out = write_header(&none, &form(None, 0)).unwrap();
    out.truncate(out.len() - 2);
    out.extend_from_slice(bytes);
    seal(&mut out, NAME, None);
    out
}

#[test]
fn hostile_lengths_are_refused_before_anything_is_allocated() {
    let (mut huge, mut many, mut long, mut payload) = (Vec::new(), Vec::new(), Vec::new(), vec![0]);
    put_varint(&mut huge, u64::MAX);
    put_varint(&mut many, 257);
    put_varint(&mut long, 1);
    put_varint(&mut long, 1025);
    put_varint(&mut payload, u64::MAX);
    for (bytes, reject) in [
        (huge, Reject::Corrupt),
        ([&many[..], &[0; 257 * 18]].concat(), Reject::Corrupt),
        (vec![0x80, 2], Reject::Truncated), // 256 cells, and none of them there
        ([&long[..], &[b'x'; 2000]].concat(), Reject::Corrupt),
        ([&[1, 0][..], &[0; 64]].concat(), Reject::Corrupt), // a cell without a name
        (payload, Reject::Truncated),
    ] {
        let bytes = cells_are(&bytes);
        let info = allocation_counter::measure(|| assert_eq!(Envelope::parse(NAME, &bytes, None), Err(reject)));
        assert_eq!(info.count_total, 0, "{reject}");
    }
}

#[test]
fn what_no_envelope_has_room_for_is_not_written() {
    let cells = |count, len| (0..count).map(|_| (Cow::Owned(vec![b'x'; len]), [0; 16])).collect();
    let write = |cells| write_header(&Head { cells, ..head(Outcome::Hint) }, &form(None, 0)).map(drop);
    assert_eq!(write(cells(256, 1024)), Ok(()));
    assert_eq!(write(cells(257, 1)), Err(Limit::Cells));
    assert_eq!(write(cells(1, 1025)), Err(Limit::Name));
    assert_eq!(write(cells(1, 0)), Err(Limit::Name));
}

#[test]
fn no_value_and_no_name_is_in_debug() {
    let secret = build(&head(Outcome::Some), &form(Some(Codec::Json), 7), b"hunter2", None);
    let text = format!("{:?}", Envelope::parse(NAME, &secret, None).unwrap());
    assert!(!text.contains("hunter2") && !text.contains("104, 117") && !text.contains("118, 99"), "{text}");
}

proptest! {
    #[test]
    fn any_head_comes_back(
        (template, created_ms, expires_ms, cost_us) in any::<(u64, u64, u64, u64)>(),
        names in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..40), any::<[u8; 16]>()), 0..20),
        payload in prop::collection::vec(any::<u8>(), 0..200),
        key in any::<Option<KeyId>>(),
    ) {
        fn cells<'h>(names: &[(Vec<u8>, Nonce)]) -> Cells<'h> {
            names.iter().map(|(name, nonce)| (Cow::Owned(name.clone()), *nonce)).collect()
        }
        let head = Head { outcome: Outcome::Some, template, created_ms, expires_ms, cost_us, cells: cells(&names) };
        let form = Form { key, ..form(Some(Codec::Bincode), payload.len()) };
        let bytes = build(&head, &form, &payload, None);
        let read = Envelope::parse(NAME, &bytes, None).unwrap();
        prop_assert_eq!(&read.head.cells, &cells(&names));
        prop_assert_eq!((read.head.template, read.head.created_ms), (template, created_ms));
        prop_assert_eq!((read.head.expires_ms, read.head.cost_us), (expires_ms, cost_us));
        prop_assert_eq!((read.payload, read.key), (&payload[..], key));
    }

    #[test]
    fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), plain in any::<Option<Vec<u8>>>()) {
        let _ = Envelope::parse(NAME, &bytes, plain.as_deref());
        let begin = [&MAGIC[..], &[VERSION]].concat();
        bytes.splice(0..0, begin);
        seal(&mut bytes, NAME, plain.as_deref());
        let _ = Envelope::parse(NAME, &bytes, plain.as_deref());
    }
}
