//! Settings of how values become bytes: where they are read from, what is refused and how, and that no key is shown.

use super::*;

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const OLD: &str = "f00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn env(vars: &[(&str, &str)]) -> Result<CacheConfig, Error> {
    CacheConfig::from_env_with(|name| vars.iter().find(|(set, _)| *set == name).map(|(_, text)| (*text).to_owned()))
}

fn refused(result: Result<impl Sized, Error>) -> (ErrorKind, String) {
    let error = result.err().expect("it is refused");
    (error.kind(), format!("{error} {error:?}"))
}

#[test]
fn with_nothing_set_values_are_neither_compressed_nor_encrypted() {
    let config = CacheConfig::default().resolve().unwrap();
    assert_eq!((config.codec, config.compress_above, config.encrypt), (Codec::default(), None, false));
    assert_eq!((&config.encryption_key, &config.encryption_key_previous), (&None, &None));
    assert!(config.keyring().unwrap().is_empty());
}

#[cfg(all(feature = "compression", feature = "encryption"))]
#[test]
fn the_settings_are_read_from_the_environment_a_file_and_code_alike() {
    let from_env = env(&[
        ("CACHE_CODEC", "json"),
        ("CACHE_COMPRESS_ABOVE", "1KiB"),
        ("CACHE_ENCRYPT", "true"),
        ("CACHE_ENCRYPTION_KEY", KEY),
        ("CACHE_ENCRYPTION_KEY_PREVIOUS", OLD),
    ]);
    let text = format!(
        r#"{{ "codec": "json", "compress_above": "1KiB", "encrypt": true, "encryption_key": "{KEY}", "encryption_key_previous": "{OLD}" }}"#
    );
    let from_file: CacheConfig = serde_json::from_str(&text).unwrap();
    let from_code = CacheConfig {
        codec: Some(Codec::Json),
        compress_above: Some(1024),
        encrypt: Some(true),
        encryption_key: Some(KEY.into()),
        encryption_key_previous: Some(OLD.into()),
        ..CacheConfig::default()
    };
    assert_eq!(env(&[]).unwrap(), CacheConfig::default());
    assert!(from_env.unwrap() == from_code && from_file == from_code);
    let resolved = from_code.clone().resolve().unwrap();
    assert_eq!((resolved.codec, resolved.compress_above, resolved.encrypt), (Codec::Json, Some(1024), true));
    assert!(!resolved.keyring().unwrap().is_empty());
    let shown = format!("{from_code:?} {resolved:?}");
    assert!(!shown.contains(KEY) && !shown.contains(OLD) && shown.contains("***"), "{shown}");
}

#[cfg(feature = "encryption")]
#[test]
fn each_setting_is_taken_from_the_highest_layer_that_has_it() {
    let high = CacheConfig { codec: Some(Codec::Json), encryption_key: Some(KEY.into()), ..CacheConfig::default() };
    let low = CacheConfig {
        codec: Some(Codec::MsgPack),
        encrypt: Some(true),
        encryption_key: Some(OLD.into()),
        encryption_key_previous: Some(OLD.into()),
        ..CacheConfig::default()
    };
    let config = high.or(low).resolve().unwrap();
    assert_eq!((config.codec, config.encrypt), (Codec::Json, true));
    let text = |key: &Option<Secret>| key.as_ref().map(|key| key.expose().to_owned());
    assert_eq!(text(&config.encryption_key).as_deref(), Some(KEY));
    assert_eq!(text(&config.encryption_key_previous).as_deref(), Some(OLD));
}

#[test]
fn a_variable_that_cannot_be_used_is_named() {
    for (name, text) in [
        ("CACHE_CODEC", "pickle"),
        ("CACHE_CODEC", ""),
        ("CACHE_COMPRESS_ABOVE", "1K"),
        ("CACHE_COMPRESS_ABOVE", "-1"),
        ("CACHE_ENCRYPT", "maybe"),
        ("CACHE_ENCRYPTION_KEY", ""),
    ] {
        let (kind, says) = refused(env(&[(name, text)]));
        assert!(kind == ErrorKind::Config && says.starts_with(name), "{name}={text}: {says}");
    }
    for text in ["0", "1024", "64KB"] {
        assert!(env(&[("CACHE_COMPRESS_ABOVE", text)]).unwrap().compress_above.is_some(), "{text}");
    }
}

#[cfg(feature = "encryption")]
#[test]
fn a_key_that_cannot_be_used_is_named_and_not_shown() {
    for text in ["hunter2", &KEY[2..], &KEY.replace('a', "x")] {
        for name in ["CACHE_ENCRYPTION_KEY", "CACHE_ENCRYPTION_KEY_PREVIOUS"] {
            let (kind, says) = refused(env(&[(name, text)]));
            assert_eq!(kind, ErrorKind::Config);
            assert!(says.starts_with(&format!("{name}: ")) && !says.contains(text), "{says}");
        }
        let base = || CacheConfig { encryption_key: Some(KEY.into()), ..CacheConfig::default() };
        for (config, name) in [
            (CacheConfig { encryption_key: Some(text.into()), ..base() }, "encryption_key: "),
            (CacheConfig { encryption_key_previous: Some(text.into()), ..base() }, "encryption_key_previous: "),
        ] {
            let (kind, says) = refused(config.resolve());
            assert_eq!(kind, ErrorKind::Config);
            assert!(says.starts_with(name) && !says.contains(text), "{says}");
        }
    }
    // A key without quotes is a number in YAML, and a list is a mistake: the value is in neither error.
    for json in ["[\"hunter2\"]", "{\"hunter2\": 1}", "1.5", "true"] {
        let text = format!("{{ \"encryption_key\": {json} }}");
        let says = serde_json::from_str::<CacheConfig>(&text).unwrap_err().to_string();
        assert!(says.contains("must be text") && !says.contains("hunter2"), "{says}");
    }
}

#[cfg(feature = "encryption")]
#[test]
fn encryption_without_the_key_that_encrypts_is_refused_at_start_up() {
    let config = CacheConfig { encrypt: Some(true), ..CacheConfig::default() };
    let (kind, says) = refused(config.resolve());
    assert!(kind == ErrorKind::Config && says.starts_with("encrypt: ") && says.contains("encryption_key"), "{says}");
    let config = CacheConfig { encryption_key_previous: Some(KEY.into()), ..CacheConfig::default() };
    let (kind, says) = refused(config.resolve());
    assert!(kind == ErrorKind::Config && says.starts_with("encryption_key_previous: "), "{says}");
}

#[test]
fn what_is_not_compiled_in_is_refused_at_start_up_with_the_feature() {
    let base = CacheConfig::default;
    for (there, config, feature) in [
        (cfg!(feature = "bincode"), CacheConfig { codec: Some(Codec::Bincode), ..base() }, "`bincode`"),
        (cfg!(feature = "msgpack"), CacheConfig { codec: Some(Codec::MsgPack), ..base() }, "`msgpack`"),
        (cfg!(feature = "compression"), CacheConfig { compress_above: Some(1), ..base() }, "`compression`"),
        (cfg!(feature = "encryption"), CacheConfig { encryption_key: Some(KEY.into()), ..base() }, "`encryption`"),
    ] {
        if there {
            config.resolve().unwrap();
        } else {
            let (kind, says) = refused(config.resolve());
            assert!(kind == ErrorKind::Unsupported && says.contains(feature) && !says.contains(KEY), "{says}");
        }
    }
    if !cfg!(feature = "encryption") {
        let (kind, says) = refused(CacheConfig { encrypt: Some(true), ..base() }.resolve());
        assert!(kind == ErrorKind::Unsupported && says.contains("`encryption`"), "{says}");
        let (kind, says) = refused(env(&[("CACHE_ENCRYPTION_KEY", KEY)]));
        assert!(
            kind == ErrorKind::Unsupported && says.starts_with("CACHE_ENCRYPTION_KEY") && !says.contains(KEY),
            "{says}"
        );
    }
}

#[test]
fn every_builder_step_sets_its_setting() {
    let builder = crate::Cache::builder().ignore_env().codec(Codec::Json).compress_above(7).encrypt(true);
    let builder = builder.encryption_key(KEY).encryption_key_previous(OLD);
    let shown = format!("{builder:?}");
    for part in ["codec: Some(Json)", "compress_above: Some(7)", "encrypt: Some(true)", "encryption_key: Some(***)"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(shown.contains("encryption_key_previous: Some(***)") && !shown.contains(KEY) && !shown.contains(OLD));
}
