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

const KINDS: [(&str, Codec, Option<u64>, Outcome, &str); 8] = [
    (
        "bincode",
        Codec::Bincode,
        None,
        Outcome::Some,
        "cac4e501040300000000000000e1d257d5850ed87780d095ffbc31e0f7a7ffbc31dc0b02107376633a76313a743a757365723a343201010101010101010101010101010101087376633a76313a2a0202020202020202020202020202020223fbe8031f416461204164612041646120416461204164612041646120416461204164611e5877e2",
    ),
    (
        "json",
        Codec::Json,
        None,
        Outcome::Some,
        "cac4e501480300000000000000e1d257d5850ed87780d095ffbc31e0f7a7ffbc31dc0b02107376633a76313a743a757365723a343201010101010101010101010101010101087376633a76313a2a02020202020202020202020202020202006f65b1b9",
    ),
    (
        "msgpack",
        Codec::MsgPack,
        None,
        Outcome::Some,
        "cac4e5010c0300000000000000e1d257d5850ed87780d095ffbc31e0f7a7ffbc31dc0b02107376633a76313a743a757365723a343201010101010101010101010101010101087376633a76313a2a020202020202020202020202020202022492cd03e8bf41646120416461204164612041646120416461204164612041646120416461db9d33ba",
    ),
    (
        "compressed",
        Codec::Json,
        Some(8),
        Outcome::Some,
        "cac4e501180300000000000000e1d257d5850ed87780d095ffbc31e0f7a7ffbc31dc0b02107376633a76313a743a757365723a343201010101010101010101010101010101087376633a76313a2a020202020202020202020202020202021728bf5b313030302c22416461200400046020416461225d9fbe0310",
    ),
    (
        "error",
        Codec::Bincode,
        None,
        Outcome::Err,
        "cac4e501060300000000000000e1d257d5850ed87780d095ffbc31e0f7a7ffbc31dc0b02107376633a76313a743a757365723a343201010101010101010101010101010101087376633a76313a2a0202020202020202020202020202020223fbe8031f41646120416461204164612041646120416461204164612041646120416461a87acb40",
    ),
    (
        "error as json",
        Codec::Json,
        None,
        Outcome::Err,
        "cac4e5010a0300000000000000e1d257d5850ed87780d095ffbc31e0f7a7ffbc31dc0b02107376633a76313a743a757365723a343201010101010101010101010101010101087376633a76313a2a02020202020202020202020202020202285b313030302c2241646120416461204164612041646120416461204164612041646120416461225d5ade8dea",
    ),
    (
        "none",
        Codec::Bincode,
        None,
        Outcome::None,
        "cac4e50101030000000000000080d095ffbc31e0f7a7ffbc31dc0b02107376633a76313a743a757365723a343201010101010101010101010101010101087376633a76313a2a0202020202020202020202020202020200d20f9914",
    ),
    (
        "hint",
        Codec::Json,
        None,
        Outcome::Hint,
        "cac4e50103030000000000000080d095ffbc31e0f7a7ffbc31dc0b02107376633a76313a743a757365723a343201010101010101010101010101010101087376633a76313a2a02020202020202020202020202020202002ea66618",
    ),
];

const COUNTER: &str = "cac4e501c803000000000000001f9d96a22281ad0b80d095ffbc31e0f7a7ffbc31dc0b02107376633a76313a743a757365723a343201010101010101010101010101010101087376633a76313a2a0202020202020202020202020202020200a0196807";

#[test]
fn entries_are_written_as_ever() {
    let mut wrong = Vec::new();
    for (kind, codec, compress_above, outcome, expected) in KINDS {
        let wire = Wire { compress_above, ..wire(codec) };
        // How well a block is compressed may change with the library; that old ones are read may not.
        if wire.check().is_ok() && kind != "compressed" {
            let written = hex(&entry(&wire, &head(outcome)).envelope);
            if written != expected {
                wrong.push(format!("{kind} {written}"));
            }
        }
    }
    let counter = hex(&pack_counter(&wire(Codec::Json), &head(Outcome::Some), 41).unwrap().envelope);
    if counter != COUNTER {
        wrong.push(format!("counter {counter}"));
    }
    assert!(wrong.is_empty(), "the wire format changed:\n{}", wrong.join("\n"));
}

#[test]
fn entries_of_old_are_read() {
    for (kind, codec, compress_above, outcome, written) in KINDS {
        let wire = Wire { compress_above, ..wire(codec) };
        if wire.check().is_err() {
            continue;
        }
        let (bytes, plain) = (unhex(written), serde_json::to_vec(&value()).unwrap());
        let envelope = Envelope::parse(NAME, &bytes, (kind == "json").then_some(&*plain)).unwrap();
        assert_eq!(envelope.head, head(outcome), "{kind}");
        if envelope.codec.is_some() {
            assert_eq!(unpack(&wire, &envelope), Ok(value()), "{kind}");
        }
    }
}

/// What is encrypted is other bytes every time, so it is only read.
#[cfg(feature = "encryption")]
#[test]
fn an_encrypted_entry_of_old_is_read() {
    const SEALED: &str = "cac4e501280300000000000000e1d257d5850ed8772217afb180d095ffbc31e0f7a7ffbc31dc0b02107376633a76313a743a757365723a343201010101010101010101010101010101087376633a76313a2a02020202020202020202020202020202505359a3aaa0039ce85cc80fe1ef061fb222e822c2603059485f6390eeaeb0ece391fd20472cbeb39e86abb36e15ece99ec769327b09b7b7e5b7eda87cd60e08c8f414a5f0adbc6799cd2ecb2b5fa00445706bd868";

    let keys = Keyring::read([("key", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")]).unwrap();
    let wire = Wire { encrypt: true, keys: &keys, ..wire(Codec::Json) };
    let written = hex(&entry(&wire, &head(Outcome::Some)).envelope);
    let bytes = unhex(SEALED);
    let envelope = Envelope::parse(NAME, &bytes, None).unwrap_or_else(|_| panic!("it would be {written}"));
    assert_eq!(unpack(&wire, &envelope), Ok(value()));
    // All but nonce, ciphertext, tag and checksum is as ever.
    let header = envelope.header.len() * 2;
    assert_eq!(SEALED[..header], written[..header]);
}
