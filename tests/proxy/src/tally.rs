//! What is counted, and which answer belongs to which command. Pure: bytes in, numbers out.

use std::collections::{BTreeMap, VecDeque};

use crate::resp::{Frame, Scanner};

/// What was counted since the last reset.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) round_trips: u64,
    pub(super) commands: BTreeMap<String, u64>,
    pub(super) bytes_to_server: u64,
    pub(super) bytes_to_client: u64,
    pub(super) connections: u64,
    pub(super) swallowed: u64,
}

/// The commands of one connection that are not answered, from the oldest.
#[derive(Debug, Default)]
pub(super) struct Asked {
    waiting: VecDeque<(String, u64)>,
    /// Nothing was waiting when the command began that is being read. Not when it ended: the rest of a pipeline that was cut
    /// within a command is no new round trip, however much of it is answered already.
    alone: bool,
    /// No answer has come since nothing was waiting.
    fresh: bool,
}

impl Asked {
    /// Takes in what a client sent.
    pub(super) fn sent(&mut self, scanner: &mut Scanner, mut bytes: &[u8], tally: &mut Tally) {
        tally.bytes_to_server += bytes.len() as u64;
        while !bytes.is_empty() {
            if scanner.at_start() {
                self.alone = self.waiting.is_empty();
            }
            let (read, command) = scanner.scan(bytes);
            bytes = &bytes[read..];
            // A line without a word is no command, and not answered.
            if let Some(command) = command.filter(|command| !command.name.is_empty()) {
                self.fresh |= self.alone;
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

#[cfg(test)]
mod tests {
    use super::*;

    const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

    struct Connection {
        asked: Asked,
        requests: Scanner,
        tally: Tally,
    }

    impl Connection {
        fn new() -> Self {
            Self { asked: Asked::default(), requests: Scanner::requests(), tally: Tally::default() }
        }

        /// Returns how many round trips there are so far.
        fn sends(&mut self, bytes: &[u8]) -> u64 {
            self.asked.sent(&mut self.requests, bytes, &mut self.tally);
            self.tally.round_trips
        }

        fn is_told(&mut self, answer: &[u8]) -> u64 {
            let (_, frame) = Scanner::answers().scan(answer);
            self.asked.ended(&frame.unwrap(), &mut self.tally);
            self.tally.round_trips
        }
    }

    #[test]
    fn a_round_trip_is_counted_with_the_first_answer() {
        let mut connection = Connection::new();
        assert_eq!(connection.sends(&PING.repeat(3)), 0);
        assert_eq!(connection.is_told(b"+PONG\r\n"), 1);
        assert_eq!(connection.is_told(b"+PONG\r\n"), 1);
        assert_eq!(connection.is_told(b"+PONG\r\n"), 1);
        connection.sends(PING);
        assert_eq!(connection.is_told(b"+PONG\r\n"), 2);
        assert_eq!(connection.tally.commands["PING"], 4);
    }

    #[test]
    fn what_is_sent_while_something_is_unanswered_is_the_same_round_trip() {
        let mut connection = Connection::new();
        connection.sends(&PING.repeat(2));
        connection.is_told(b"+PONG\r\n");
        connection.sends(PING);
        connection.is_told(b"+PONG\r\n");
        assert_eq!(connection.is_told(b"+PONG\r\n"), 1);
    }

    #[test]
    fn a_pipeline_that_is_cut_within_a_command_is_one_round_trip() {
        let mut connection = Connection::new();
        let (head, tail) = PING.split_at(5);
        connection.sends(&[PING, head].concat());
        connection.is_told(b"+PONG\r\n");
        connection.sends(&[tail, PING].concat());
        connection.is_told(b"+PONG\r\n");
        assert_eq!(connection.is_told(b"+PONG\r\n"), 1);
    }

    #[test]
    fn a_subscription_is_confirmed_channel_by_channel() {
        let mut connection = Connection::new();
        connection.sends(b"SUBSCRIBE a b\r\n");
        assert_eq!(connection.is_told(b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"), 1);
        // A message in between answers nothing.
        connection.is_told(b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n");
        connection.sends(PING);
        connection.is_told(b">3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n");
        assert_eq!(connection.is_told(b"+PONG\r\n"), 1);
        connection.sends(PING);
        assert_eq!(connection.is_told(b"+PONG\r\n"), 2);
    }
}
