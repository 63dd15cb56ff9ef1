//! Ports that nobody else takes, also while the server on them is down.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

/// Below what Linux (32768) and macOS (49152) give to outgoing connections. A client that keeps connecting to a dead port
/// from that range is one day given that port itself, is then connected to itself, and the server cannot come back.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// A TCP port of the loopback interface. While it lives, no other `Port` on this machine is the same.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// The UDP port of the same number, which no server uses: a claim that ends with the process, however that ends.
    _claim: UdpSocket,
}

impl Port {
    /// A port that is free. Somebody who claims nothing can still take it first.
    ///
    /// # Panics
    ///
    /// No port is free.
    #[must_use]
    pub fn claim() -> Self {
        let count = u64::from(PORTS.end - PORTS.start);
        let first = RandomState::new().hash_one(std::process::id()) % count;
        (0..count)
            .filter_map(|step| u16::try_from((first + step) % count).ok())
            .find_map(|offset| {
                let number = PORTS.start + offset;
                let claim = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
                TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
                Some(Self { number, _claim: claim })
            })
            .expect("one of 20000 ports is free")
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }
}
