//! Entries that are not encrypted: what lies where, what is read back, what is not, and what cannot be written.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    id: u64,
    name: String,
    tags: Vec<String>,
    rank: Option<i8>,
}

fn user() -> User {
    User { id: 42, name: "Ada".into(), tags: vec!["a".into(), "b".into()], rank: Some(-1) }
}

#[test]
fn values_of_all_kinds_come_back() {
    comes_back(&user());
    comes_back(&());
    comes_back(&(u8::MAX, i64::MIN, u128::MAX, i128::MIN, f32::MAX, f64::MIN_POSITIVE, '\0', true));
    comes_back(&("é\u{10FFFF}\0".to_owned(), vec![0_u8, 255], [1_u16; 7]));
    comes_back(&BTreeMap::from([(1_u64, Some(vec!["x".to_owned()])), (2, None)]));
    comes_back(&std::time::Duration::new(1, 999_999_999));
    comes_back(&(std::net::IpAddr::from([127, 0, 0, 1]), std::num::NonZeroU8::MAX));
    comes_back(&Result::<u8, String>::Err("no".into()));
}

/// serde_json reads every third number wrong in its last bit unless it is told not to.
#[test]
fn floats_come_back_to_the_last_bit() {
    let mut bits = 0x1234_5678_9ABC_DEF1_u64;
    let mut floats = vec![0.1, -0.0, f64::MIN_POSITIVE, f64::MAX, 1.947_700_395_895_162e-169, 5e-324];
    while floats.len() < 2000 {
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        floats.extend(Some(f64::from_bits(bits)).filter(|float| float.is_finite()));
    }
    for codec in codecs() {
        let back: Vec<f64> = codec.decode(&codec.encode(&floats).unwrap()).unwrap();
        let wrong = floats.iter().zip(&back).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
        assert_eq!((wrong, back.len()), (0, floats.len()), "{codec}");
    }
}

#[test]
fn what_an_entry_says_beside_its_value_comes_back() {
    for codec in codecs() {
        let image = packed(&wire(codec), &user());
        let envelope = parse(&image).unwrap();
        assert_eq!(envelope.head, head(Outcome::Some));
        assert_eq!((envelope.codec, envelope.compressed, envelope.encrypted()), (Some(codec), false, false));
        assert_eq!(envelope.plain(), codec == Codec::Json);
    }
}

#[test]
fn json_lies_alone_and_as_it_is_and_changing_it_is_noticed() {
    let wire = wire(Codec::Json);
    let mut image = packed(&wire, &user());
    assert_eq!(image.plain.as_deref(), Some(&br#"{"id":42,"name":"Ada","tags":["a","b"],"rank":-1}"#[..]));
    assert_eq!(read(&wire, &image), Ok(user()));
    for plain in [None, Some(Vec::new()), Some(br#"{"id":43,"name":"Ada","tags":["a","b"],"rank":-1}"#.to_vec())] {
        image.plain = plain;
        assert!(read::<User>(&wire, &image).is_err());
    }
}

#[test]
fn an_error_has_a_value_and_nothing_and_a_hint_have_none() {
    for codec in codecs() {
        let wire = wire(codec);
        let image = pack(&wire, &head(Outcome::Err), Some(&"no such user".to_owned())).unwrap();
        assert_eq!(parse(&image).unwrap().head.outcome, Outcome::Err);
        assert_eq!(image.plain, None, "{codec}: other programs would take it for the value");
        assert_eq!(read(&wire, &image), Ok("no such user".to_owned()));
        for outcome in [Outcome::None, Outcome::Hint] {
            let image = pack::<User>(&wire, &head(outcome), None).unwrap();
            assert_eq!(image.plain, None);
            let envelope = parse(&image).unwrap();
            assert_eq!((&envelope.head, envelope.codec), (&head(outcome), None));
            assert_eq!(verify(&wire, &envelope), Ok(()));
            assert_eq!(unpack::<User>(&wire, &envelope), Err(Reject::Shape));
            assert_eq!(pack(&wire, &head(outcome), Some(&1_u8)).unwrap_err().kind(), ErrorKind::Codec);
        }
        assert_eq!(pack::<u8>(&wire, &head(Outcome::Some), None).unwrap_err().kind(), ErrorKind::Codec);
    }
}

#[test]
fn which_codec_reads_is_for_the_reader_to_say_and_not_for_the_bytes() {
    for written in codecs() {
        for asked in codecs().filter(|asked| *asked != written) {
            let image = packed(&wire(written), &user());
            assert_eq!(read::<User>(&wire(asked), &image), Err(Reject::Codec), "{written} as {asked}");
        }
    }
}

#[cfg(feature = "compression")]
#[test]
fn values_above_the_threshold_are_compressed_where_that_makes_them_shorter() {
    let noise: String =
        (0..400_u32).map(|i| char::from(b'!' + (i.wrapping_mul(2_654_435_761) >> 24) as u8 % 90)).collect();
    for codec in codecs() {
        let text = "x".repeat(1000);
        let len = codec.encode(&text).unwrap().len() as u64;
        for (value, above, compressed) in [
            (&text, None, false),
            (&text, Some(len), false),
            (&text, Some(len - 1), true),
            (&text, Some(0), true),
            (&noise, Some(0), false),
            (&String::new(), Some(0), false),
        ] {
            let wire = Wire { compress_above: above, ..wire(codec) };
            let image = packed(&wire, value);
            let envelope = parse(&image).unwrap();
            assert_eq!(envelope.compressed, compressed, "{codec}, {above:?}");
            assert_eq!(envelope.plain(), codec == Codec::Json && !compressed);
            assert!(!compressed || image.envelope.len() < 200);
            // Whoever reads need not ask for compression.
            assert_eq!(read(&self::wire(codec), &image).as_ref(), Ok(value));
        }
    }
}

#[cfg(not(feature = "compression"))]
#[test]
fn compression_that_is_not_compiled_in_is_an_error_that_names_the_feature() {
    let wire = Wire { compress_above: Some(0), ..wire(Codec::Json) };
    let error = pack(&wire, &head(Outcome::Some), Some(&1_u8)).unwrap_err();
    assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains("`compression`"), "{error}");
}

#[test]
fn a_codec_that_is_not_compiled_in_is_an_error_that_names_the_feature_and_a_miss() {
    for codec in [Codec::Bincode, Codec::MsgPack].into_iter().filter(|codec| !codec.compiled_in()) {
        for error in
            [codec.encode(&1).unwrap_err(), codec.decode::<u8>(&[1]).unwrap_err(), wire(codec).check().unwrap_err()]
        {
            assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains(codec.name()), "{error}");
        }
    }
}

#[test]
fn relabelled_it_is_the_same_value_and_life_with_other_cells() {
    fn cells<'c>() -> crate::envelope::Cells<'c> {
        [(Cow::Borrowed(&b"svc:v1:t:other"[..]), [9; 16])].into_iter().collect()
    }
    for codec in codecs() {
        let wire = wire(codec);
        let image = packed(&wire, &user());
        let other = relabel(&wire, &parse(&image).unwrap(), cells()).unwrap();
        let envelope = parse(&other).unwrap();
        assert_eq!(envelope.head.cells, cells());
        assert_eq!(Head { cells: head(Outcome::Some).cells, ..envelope.head.clone() }, head(Outcome::Some));
        assert_eq!(unpack(&wire, &envelope), Ok(user()));
        assert_eq!(other.plain, image.plain);
    }
}

#[test]
fn a_counter_is_read_by_every_codec_after_the_server_added_to_it() {
    for codec in codecs() {
        let wire = wire(codec);
        let mut image = pack_counter(&wire, &head(Outcome::Some), -1).unwrap();
        assert_eq!(image.plain.as_deref(), Some(&b"-1"[..]));
        for number in [-1, 0, i64::MAX, i64::MIN] {
            image.plain = Some(number.to_string().into_bytes());
            assert_eq!(read(&wire, &image), Ok(number));
            assert_eq!(read::<u64>(&wire, &image), Err(Reject::Shape));
        }
        image.plain = Some(b"many".to_vec());
        assert_eq!(read::<i64>(&wire, &image), Err(Reject::Shape));
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Writes {
    #[serde(rename(serialize = "a", deserialize = "b"))]
    a: u8,
}

#[derive(Debug, Serialize, Deserialize)]
struct Forgets {
    #[serde(skip_deserializing)]
    a: Option<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Ambiguous {
    A(u8),
    B(u64),
}

#[test]
fn a_value_that_would_not_come_back_as_it_was_is_not_written() {
    fn fails<V: Serialize + DeserializeOwned>(codec: Codec, value: &V, part: &str) {
        if codec.compiled_in() {
            let error = pack(&wire(codec), &head(Outcome::Some), Some(value)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Codec);
            let text = error.to_string();
            assert!(text.starts_with(codec.name()) && text.contains(part), "{text}");
        }
    }
    for codec in [Codec::Json, Codec::MsgPack] {
        fails(codec, &Writes { a: 1 }, "read back");
        fails(codec, &Some(None::<u8>), "comes back as another");
        fails(codec, &Some(()), "comes back as another");
        fails(codec, &Forgets { a: Some(1) }, "comes back as another");
        fails(codec, &Ambiguous::B(1), "comes back as another");
    }
    fails(Codec::Json, &f64::NAN, "read back");
    fails(Codec::Json, &Some(f64::INFINITY), "comes back as another");
    fails(Codec::Json, &BTreeMap::from([((1, 2), 3)]), "cannot be encoded");
    fails(Codec::Bincode, &Ambiguous::A(1), "json and msgpack");
    fails(Codec::Bincode, &serde_json::json!({ "a": 1 }), "json and msgpack");
    comes_back(&vec![Some(()); 0]);
}

#[test]
fn what_is_too_large_is_not_written() {
    let codec = Codec::default();
    let error = pack(&wire(codec), &head(Outcome::Some), Some(&"x".repeat(64 << 20))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let with = |count: usize, len: usize| {
        let cells = (0..count).map(|_| (Cow::Owned(vec![b'x'; len]), [0; 16])).collect();
        pack(&wire(codec), &Head { cells, ..head(Outcome::Some) }, Some(&1_u8)).map_err(|error| error.kind()).map(drop)
    };
    assert_eq!(
        (with(256, 1024), with(257, 1), with(1, 1025)),
        (Ok(()), Err(ErrorKind::TooLarge), Err(ErrorKind::InvalidKey))
    );
}

/// Refuses, quoting itself.
#[derive(Debug)]
struct Loud;

impl Serialize for Loud {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("hunter2"))
    }
}

#[test]
fn no_error_quotes_a_value() {
    for codec in codecs() {
        let bytes = codec.encode("hunter2").unwrap();
        for error in [
            codec.encode(&Loud).unwrap_err(),
            codec.decode::<bool>(&bytes).unwrap_err(),
            codec.decode::<u8>(&bytes).unwrap_err(),
        ] {
            let mut source: Option<&dyn std::error::Error> = Some(&error);
            while let Some(error) = source {
                assert!(!format!("{error} {error:?}").contains("hunter2"), "{codec}: {error:?}");
                source = error.source();
            }
        }
    }
}

#[test]
fn a_codec_is_read_as_it_is_said_and_nothing_else_is() {
    for codec in [Codec::Bincode, Codec::Json, Codec::MsgPack] {
        assert_eq!(codec.to_string().parse::<Codec>().unwrap(), codec);
    }
    for text in ["", "JSON", "msg_pack", "pickle"] {
        assert_eq!(text.parse::<Codec>().unwrap_err().kind(), ErrorKind::Config);
    }
}

#[test]
fn a_long_string_weighs_more_than_its_header() {
    assert!(size(&"x".repeat(1000)) >= 1000);
    assert!(size(&1_u64) < 32);
}
