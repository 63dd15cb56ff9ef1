//! How settings are read from a JSON, TOML or YAML document: durations and sizes as numbers or as people write them.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, Error, Unexpected, Visitor};

use crate::codec::Codec;
use crate::duration::{parse_bytes, parse_duration};
use crate::memory::Engine;

/// Whole seconds, or `"5m"`.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    deserializer.deserialize_any(Reader {
        expected: "whole seconds or a duration such as \"5m\"",
        number: |seconds| Ok(Duration::from_secs(seconds)),
        text: parse_duration,
    })
}

/// Whole bytes, or `"64MB"`.
pub(super) fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    deserializer.deserialize_any(Reader {
        expected: "whole bytes or a size such as \"64MB\"",
        number: Ok,
        text: parse_bytes,
    })
}

/// The name of an engine.
pub(super) fn engine<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Engine>, D::Error> {
    deserializer.deserialize_any(Reader {
        expected: "\"quick_cache\" or \"moka\"",
        number: |_| Err("an engine is \"quick_cache\" or \"moka\"".into()),
        text: |text| match text {
            "quick_cache" => Ok(Engine::QuickCache),
            "moka" => Ok(Engine::Moka),
            _ => Err("an engine is \"quick_cache\" or \"moka\"".into()),
        },
    })
}

/// The name of a codec.
pub(super) fn codec<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Codec>, D::Error> {
    const EXPECTED: &str = "\"bincode\", \"json\" or \"msgpack\"";
    deserializer.deserialize_any(Reader {
        expected: EXPECTED,
        number: |_| Err(format!("a codec is {EXPECTED}")),
        text: |text| text.parse().map_err(|_| format!("a codec is {EXPECTED}")),
    })
}

struct Reader<T> {
    expected: &'static str,
    number: fn(u64) -> Result<T, String>,
    text: fn(&str) -> Result<T, String>,
}

impl<'de, T> Visitor<'de> for Reader<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Option<T>, E> {
        (self.number)(number).map(Some).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Option<T>, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<T>, E> {
        (self.text)(text).map(Some).map_err(E::custom)
    }

    fn visit_none<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        deserializer.deserialize_any(self)
    }
}
