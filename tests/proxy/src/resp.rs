//! The frames of the Redis protocol, as they pass: where one ends, and what it is called. Values are not kept.

/// How much of a word is kept: enough for the name of a command.
const WORD: usize = 64;

/// How much of a line is looked at. Lines that mean anything are short.
const LINE: usize = 4096;

/// A frame that ended.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Frame {
    /// Its first byte: `*` for an array, `>` for a push, and so on.
    pub(super) kind: u8,
    /// How many elements it has, if it is an array or a push.
    pub(super) elements: u64,
    /// The first word in it, in capitals.
    pub(super) name: String,
}

/// Reads one direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// Whether a frame that begins like no other is a line of words: so it is from a client.
    inline: bool,
    frame: Option<Frame>,
    /// The line that is being read.
    line: Vec<u8>,
    /// What is left of a string, its line end included.
    string: u64,
    /// What is left of the aggregates that are being read, from the outermost.
    open: Vec<u64>,
    /// The name was found, or there is none.
    named: bool,
}

impl Scanner {
    /// For what a client says.
    pub(super) fn requests() -> Self {
        Self { inline: true, ..Self::default() }
    }

    /// For what a server says.
    pub(super) fn answers() -> Self {
        Self::default()
    }

    /// Whether the next byte begins a frame.
    pub(super) fn at_start(&self) -> bool {
        self.frame.is_none()
    }

    /// Reads on until a frame ends, or to the end of `bytes`. Returns how much it read, and the frame if it ended.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> (usize, Option<Frame>) {
        let mut at = 0;
        while at < bytes.len() {
            let frame = self.frame.get_or_insert_with(|| Frame { kind: bytes[at], ..Frame::default() });
            let ended = if self.string > 0 {
                let here = usize::try_from(self.string).unwrap_or(usize::MAX).min(bytes.len() - at);
                if !self.named {
                    let room = WORD.saturating_sub(frame.name.len()).min(here);
                    frame.name.extend(bytes[at..at + room].iter().map(|byte| char::from(*byte)));
                }
                self.string -= here as u64;
                at += here;
                self.string == 0 && self.element(true)
            } else {
                let end = bytes[at..].iter().position(|byte| *byte == b'\n').map(|end| at + end + 1);
                let here = end.unwrap_or(bytes.len());
                let room = LINE.saturating_sub(self.line.len()).min(here - at);
                self.line.extend_from_slice(&bytes[at..at + room]);
                at = here;
                end.is_some() && self.line_ended()
            };
            if ended {
                let mut frame = self.frame.take().unwrap_or_default();
                frame.name = frame.name.trim_end().to_ascii_uppercase();
                self.named = false;
                self.open.clear();
                return (at, Some(frame));
            }
        }
        (at, None)
    }

    /// Takes in a line. Returns whether the frame ended with it.
    fn line_ended(&mut self) -> bool {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(line.strip_suffix(b"\r\n").or(line.strip_suffix(b"\n")).unwrap_or(&line));
        let Some(frame) = &mut self.frame else { return true };
        let outermost = self.open.is_empty();
        let first = line.first().copied().unwrap_or_default();
        if self.inline && outermost && first != b'*' {
            frame.name = text.split_whitespace().next().unwrap_or_default().chars().take(WORD).collect();
            frame.elements = text.split_whitespace().count() as u64;
            return true;
        }
        let count = text.get(1..).and_then(|count| count.parse::<u64>().ok());
        match (first, count) {
            (b'$' | b'=' | b'!', Some(length)) => {
                self.string = length.saturating_add(2);
                false
            }
            (b'*' | b'~' | b'>' | b'%' | b'|', Some(count)) => {
                if outermost {
                    frame.elements = count;
                }
                let inside = match first {
                    b'%' => count.saturating_mul(2),
                    // An attribute is followed by what it is an attribute of.
                    b'|' => count.saturating_mul(2).saturating_add(1),
                    _ => count,
                };
                if inside > 0 {
                    self.open.push(inside);
                }
                inside == 0 && self.element(false)
            }
            // Everything else is one line, also a length of -1 and what is no RESP at all.
            _ => {
                if !self.named && first == b'+' {
                    frame.name = text.chars().skip(1).take(WORD).collect();
                }
                self.element(first == b'+')
            }
        }
    }

    /// An element ended. Returns whether the outermost ended with it.
    fn element(&mut self, word: bool) -> bool {
        self.named |= word;
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return false;
            }
            self.open.pop();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(mut scanner: Scanner, bytes: &[u8], step: usize) -> Vec<(u8, u64, String)> {
        let mut found = Vec::new();
        for mut chunk in bytes.chunks(step) {
            while !chunk.is_empty() {
                let (read, frame) = scanner.scan(chunk);
                chunk = &chunk[read..];
                found.extend(frame.map(|frame| (frame.kind, frame.elements, frame.name)));
            }
        }
        assert!(scanner.at_start(), "a frame was left open");
        found
    }

    #[test]
    fn commands_are_told_apart_however_they_are_cut() {
        let bytes = b"*2\r\n$4\r\nmget\r\n$3\r\na\nb\r\n*1\r\n$4\r\nPING\r\nPING x\r\n*3\r\n$3\r\nSET\r\n$0\r\n\r\n$8\r\n*1\r\n$4\r\n\r\n";
        let expected = [
            (b'*', 2, "MGET".to_owned()),
            (b'*', 1, "PING".to_owned()),
            (b'P', 2, "PING".to_owned()),
            (b'*', 3, "SET".to_owned()),
        ];
        for step in 1..=bytes.len() {
            assert_eq!(frames(Scanner::requests(), bytes, step), expected, "cut every {step}");
        }
    }

    #[test]
    fn answers_of_all_kinds_end_where_they_end() {
        let answers: [&[u8]; 16] = [
            b"+OK\r\n",
            b"-ERR no\r\n",
            b":1\r\n",
            b"$3\r\nabc\r\n",
            b"$-1\r\n",
            b"*-1\r\n",
            b"*0\r\n",
            b"*2\r\n*1\r\n:1\r\n$1\r\na\r\n",
            b"%1\r\n+a\r\n*2\r\n:1\r\n:2\r\n",
            b"~1\r\n#t\r\n",
            b",1.5\r\n",
            b"_\r\n",
            b"=7\r\ntxt:abc\r\n",
            b"|1\r\n+ttl\r\n:1\r\n$1\r\nx\r\n",
            b"!3\r\nERR\r\n",
            b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n",
        ];
        let bytes = answers.concat();
        let kinds: Vec<u8> = answers.iter().map(|answer| answer[0]).collect();
        for step in 1..=bytes.len() {
            let found: Vec<u8> = frames(Scanner::answers(), &bytes, step).into_iter().map(|(kind, ..)| kind).collect();
            assert_eq!(found, kinds, "cut every {step}");
        }
        let (_, push) = Scanner::answers().scan(answers[15]);
        assert_eq!(push, Some(Frame { kind: b'>', elements: 3, name: "MESSAGE".to_owned() }));
    }
}
