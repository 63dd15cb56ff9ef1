//! What is counted, and which answer belongs to which command. Pure: bytes in, numbers out.

use std::collections::{BTreeMap, VecDeque};

use crate::redis::resp::{Frame, Scanner};

/// What was counted since the last reset.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) round_trips: u64,
    pub(super) commands: BTreeMap<String, u64>,
    pub(super) bytes_to_server: u64,
    pub(super) bytes_to_client: u64,
    pub(super) connections: u64,
}

/// The commands of one connection that are not answered, from the oldest.
#[derive(Debug, Default)]
pub(super) struct Asked {
    waiting: VecDeque<(String, u64)>,
    /// No answer has come since nothing was waiting.
    fresh: bool,
}

impl Asked {
    /// Takes in what a client sent.
    pub(super) fn sent(&mut self, scanner: &mut Scanner, mut bytes: &[u8], tally: &mut Tally) {
        tally.bytes_to_server += bytes.len() as u64;
        while !bytes.is_empty() {
            let (read, command) = scanner.scan(bytes);
            bytes = &bytes[read..];
            // A line without a word is no command, and not answered.
            if let Some(command) = command.filter(|command| !command.name.is_empty()) {
                self.fresh |= self.waiting.is_empty();
                *tally.commands.entry(command.name.clone()).or_default() += 1;
                // One answer for each channel.
                let answers = if subscribes(&command.name) { command.elements.saturating_sub(1).max(1) } else { 1 };
                self.waiting.push_back((command.name, answers));
            }
        }
    }

    /// The command that an answer which begins now is for. A push is no answer.
    pub(super) fn answering(&mut self, kind: u8, tally: &mut Tally) -> Option<&str> {
        if kind == b'>' || self.waiting.is_empty() {
            return None;
        }
        self.begin(tally);
        self.waiting.front().map(|(name, _)| name.as_str())
    }

    /// Takes in a frame from the server.
    pub(super) fn ended(&mut self, frame: &Frame, tally: &mut Tally) {
        // With RESP3 a push is what confirms a subscription.
        if frame.kind == b'>' && !subscribes(&frame.name) {
            return;
        }
        self.begin(tally);
        if let Some((_, left)) = self.waiting.front_mut() {
            *left -= 1;
            if *left == 0 {
                self.waiting.pop_front();
            }
        }
    }

    /// An answer begins: the first one to what was sent together ends a round trip.
    fn begin(&mut self, tally: &mut Tally) {
        tally.round_trips += u64::from(std::mem::take(&mut self.fresh));
    }
}

fn subscribes(name: &str) -> bool {
    name.ends_with("SUBSCRIBE")
}
