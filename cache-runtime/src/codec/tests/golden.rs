//! The wire format, to the byte: entries that were written by this version must be read by the next one, or its number
//! must change.

use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

fn value() -> (u16, String) {
    (1000, "Ada Ada Ada Ada Ada Ada Ada Ada".to_owned())
}

fn entry(wire: &Wire<'_>, head: &Head<'_>) -> Image {
    let value = value();
    pack(wire, head, matches!(head.outcome, Outcome::Some | Outcome::Err).then_some(&value)).unwrap()
}

#[test]
fn entries_are_written_as_ever() {
    let kinds: [(&str, Codec, Option<u64>, Outcome, &str); 7] = [
        ("bincode", Codec::Bincode, None, Outcome::Some, ""),
        ("json", Codec::Json, None, Outcome::Some, ""),
        ("msgpack", Codec::MsgPack, None, Outcome::Some, ""),
        ("compressed", Codec::Json, Some(8), Outcome::Some, ""),
        ("error", Codec::Bincode, None, Outcome::Err, ""),
        ("none", Codec::Bincode, None, Outcome::None, ""),
        ("hint", Codec::Json, None, Outcome::Hint, ""),
    ];
    for (kind, codec, compress_above, outcome, expected) in kinds {
        let wire = Wire { compress_above, ..wire(codec) };
        if wire.check().is_ok() {
            assert_eq!(hex(&entry(&wire, &head(outcome)).envelope), expected, "{kind}");
        }
    }
    let counter = pack_counter(&wire(Codec::Json), &head(Outcome::Some), 41).unwrap();
    assert_eq!(hex(&counter.envelope), "");
}
