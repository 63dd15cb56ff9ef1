//! Encryption: what is sealed is read by those who have the key, under its name, with its header, and by nobody else.

#![cfg(feature = "encryption")]

use super::*;
use crate::envelope::{Cells, reseal};

const A: &str = "0a0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const B: &str = "0b0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn ring(keys: &[&str]) -> Keyring {
    Keyring::read(keys.iter().map(|key| ("encryption_key", *key))).unwrap()
}

fn sealed<'w>(codec: Codec, keys: &'w Keyring) -> Wire<'w> {
    Wire { codec, compress_above: None, encrypt: true, keys, name: NAME }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn a_sealed_value_comes_back_and_shows_nothing_of_itself() {
    let keys = ring(&[A]);
    for codec in codecs() {
        let wire = sealed(codec, &keys);
        let value = "hunter2 ".repeat(10);
        let image = packed(&wire, &value);
        assert_eq!(image.plain, None);
        assert!(!contains(&image.envelope, b"hunter2"));
        assert_eq!(read(&wire, &image).as_ref(), Ok(&value));
        // The same value again is other bytes.
        assert_ne!(packed(&wire, &value).envelope, image.envelope);
        // A reader that does not ask for encryption has the key, and takes it.
        assert_eq!(read(&Wire { encrypt: false, ..wire }, &image).as_ref(), Ok(&value));
        #[cfg(feature = "compression")]
        {
            let both = packed(&Wire { compress_above: Some(0), ..wire }, &value);
            assert!(both.envelope.len() < image.envelope.len());
            assert_eq!(read(&wire, &both).as_ref(), Ok(&value));
        }
    }
}

#[test]
fn an_entry_that_is_not_sealed_is_refused_by_who_asks_for_it_whatever_it_says() {
    let keys = ring(&[A]);
    for codec in codecs() {
        let (open, asks) = (Wire { keys: &keys, ..wire(codec) }, sealed(codec, &keys));
        let image = packed(&open, &1_u8);
        assert_eq!(read::<u8>(&asks, &image), Err(Reject::Unsealed));
        assert_eq!(relabel(&asks, &parse(&image).unwrap(), Cells::new()).unwrap_err().kind(), ErrorKind::Codec);
        for outcome in [Outcome::None, Outcome::Hint] {
            let image = pack::<u8>(&open, &head(outcome), None).unwrap();
            assert_eq!(verify(&asks, &parse(&image).unwrap()), Err(Reject::Unsealed));
            let image = pack::<u8>(&asks, &head(outcome), None).unwrap();
            assert_eq!(verify(&asks, &parse(&image).unwrap()), Ok(()));
        }
    }
    let counter = pack_counter(&wire(Codec::Json), &head(Outcome::Some), 1).unwrap();
    assert_eq!(read::<i64>(&sealed(Codec::Json, &keys), &counter), Err(Reject::Unsealed));
    assert_eq!(
        pack_counter(&sealed(Codec::Json, &keys), &head(Outcome::Some), 1).unwrap_err().kind(),
        ErrorKind::Unsupported
    );
}

#[test]
fn keys_are_exchanged_without_losing_what_is_there() {
    let (old, both, new) = (ring(&[A]), ring(&[B, A]), ring(&[B]));
    let codec = Codec::default();
    let before = packed(&sealed(codec, &old), &1_u8);
    let after = packed(&sealed(codec, &both), &1_u8);
    assert_eq!(read(&sealed(codec, &both), &before), Ok(1_u8));
    assert_eq!(read(&sealed(codec, &both), &after), Ok(1_u8));
    assert_eq!(read(&sealed(codec, &new), &after), Ok(1_u8));
    assert_eq!(read::<u8>(&sealed(codec, &new), &before), Err(Reject::Key));
    assert_eq!(read::<u8>(&sealed(codec, &old), &after), Err(Reject::Key));
    assert_eq!(read::<u8>(&wire(codec), &after), Err(Reject::Key));
    // What is relabelled is sealed with the first key from then on.
    let relabelled = relabel(&sealed(codec, &both), &parse(&before).unwrap(), Cells::new()).unwrap();
    assert_eq!(read(&sealed(codec, &new), &relabelled), Ok(1_u8));
}

#[test]
fn relabelling_keeps_a_value_sealed_also_for_who_does_not_ask_for_it() {
    let keys = ring(&[A]);
    let image = packed(&sealed(Codec::Json, &keys), &"hunter2".to_owned());
    let open = Wire { keys: &keys, ..wire(Codec::Json) };
    let relabelled = relabel(&open, &parse(&image).unwrap(), Cells::new()).unwrap();
    assert!(relabelled.plain.is_none() && !contains(&relabelled.envelope, b"hunter2"));
    assert_eq!(read(&sealed(Codec::Json, &keys), &relabelled), Ok("hunter2".to_owned()));
    assert_eq!(
        relabel(&wire(Codec::Json), &parse(&image).unwrap(), Cells::new()).unwrap_err().kind(),
        ErrorKind::Codec
    );
}

#[test]
fn an_entry_cannot_be_moved_to_another_name() {
    let keys = ring(&[A]);
    let wire = sealed(Codec::default(), &keys);
    let other = &b"svc:v1:user:43"[..];
    let moved = reseal(&packed(&wire, &1_u8).envelope, other, None);
    let envelope = Envelope::parse(other, &moved, None).unwrap();
    assert_eq!(unpack::<u8>(&Wire { name: other, ..wire }, &envelope), Err(Reject::Forged));
    assert_eq!(verify(&Wire { name: other, ..wire }, &envelope), Err(Reject::Forged));
}

#[test]
fn no_bit_of_header_or_value_can_be_changed_even_with_a_right_checksum() {
    let keys = ring(&[A, B]);
    let wire = sealed(Codec::Json, &keys);
    for image in [packed(&wire, &1_u8), pack::<u8>(&wire, &head(Outcome::None), None).unwrap()] {
        for bit in 0..(image.envelope.len() - 4) * 8 {
            let mut bytes = image.envelope.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let bytes = reseal(&bytes, NAME, None);
            let verdict = Envelope::parse(NAME, &bytes, None).and_then(|envelope| verify(&wire, &envelope));
            assert!(verdict.is_err(), "bit {bit}");
        }
    }
}

#[test]
fn a_payload_that_is_too_short_to_be_sealed_is_refused() {
    let keys = ring(&[A]);
    let wire = sealed(Codec::default(), &keys);
    let image = packed(&wire, &1_u8);
    let mut envelope = parse(&image).unwrap();
    for len in 0..40 {
        envelope.payload = &image.envelope[..len];
        assert_eq!(verify(&wire, &envelope), Err(Reject::Forged));
    }
}

#[test]
fn to_ask_for_encryption_without_a_key_is_an_error_and_never_a_plaintext() {
    for codec in codecs() {
        let wire = Wire { encrypt: true, ..wire(codec) };
        assert_eq!(wire.check().unwrap_err().kind(), ErrorKind::Config);
        for outcome in [Outcome::Some, Outcome::None] {
            let value = (outcome == Outcome::Some).then_some(&1_u8);
            assert_eq!(pack(&wire, &head(outcome), value).unwrap_err().kind(), ErrorKind::Config);
        }
    }
}

#[test]
fn keys_are_read_in_hex_and_base64_and_no_other_form_and_never_shown() {
    let image = packed(&sealed(Codec::default(), &ring(&[A])), &7_u8);
    for text in [
        A,
        &A.to_uppercase(),
        "CgECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "CgECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
    ] {
        assert_eq!(read(&sealed(Codec::default(), &ring(&[text])), &image), Ok(7_u8), "{text}");
    }
    // Both alphabets.
    let keys = ["//////////////////////////////////////////8=", "__________________________________________8"]
        .map(|key| ring(&[key]));
    let image = packed(&sealed(Codec::default(), &keys[0]), &7_u8);
    assert_eq!(read(&sealed(Codec::default(), &keys[1]), &image), Ok(7_u8));

    for text in [
        "",
        "hunter2",
        &A[1..],
        &A[2..],
        &format!("{A}00"),
        &A.replace('a', "g"),
        "aHVudGVyMg==",
        &format!(" {A}"),
        &"A".repeat(43)[..42],
    ] {
        let error = Keyring::read([("CACHE_ENCRYPTION_KEY", text)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{text}");
        let says = format!("{error} {error:?}");
        assert!(says.starts_with("CACHE_ENCRYPTION_KEY: ") && says.contains("32 bytes"), "{says}");
        assert!(text.is_empty() || !says.contains(text), "{says}");
    }
    assert_eq!(format!("{:?}", ring(&[A, B])), "Keyring(***)");
    assert_eq!(format!("{:?}", ring(&[])), "Keyring(***)");
}
