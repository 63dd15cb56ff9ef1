//! Which slot of a cluster a name is in: CRC16 (XMODEM) of its hash tag, or of all of it. From the Redis Cluster
//! specification.

/// Slots of a cluster.
#[cfg_attr(not(feature = "redis-cluster"), allow(dead_code, reason = "only clusters count them"))]
pub(crate) const SLOTS: u16 = 16_384;

/// The slot of a name.
pub(crate) fn of(name: &[u8]) -> u16 {
    crc16(tag(name)) % SLOTS
}

/// What decides a name's slot: what lies between the first `{` and the next `}`, or the whole name where that is nothing.
pub(crate) fn tag(name: &[u8]) -> &[u8] {
    let position = |bytes: &[u8], brace| bytes.iter().position(|&byte| byte == brace);
    let Some(open) = position(name, b'{') else { return name };
    let rest = &name[open + 1..];
    match position(rest, b'}') {
        Some(close) if close > 0 => &rest[..close],
        _ => name,
    }
}

const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| crc << 8 ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_servers() {
        assert_eq!(crc16(b"123456789"), 0x31c3, "the check value of the specification");
        // As `CLUSTER KEYSLOT` answers.
        for (name, slot) in [
            ("", 0),
            ("foo", 12_182),
            ("svc:v1:user:42", 753),
            ("{user1000}.following", 3_443),
            ("{user1000}.followers", 3_443),
            ("user1000", 3_443),
            ("foo{}{bar}", 8_363),
            ("foo{{bar}}zap", 4_015),
            ("foo{bar}{zap}", 5_061),
            ("foo{bar", 15_278),
        ] {
            assert_eq!(of(name.as_bytes()), slot, "{name}");
        }
    }
}
