//! Turns the bytes of tokens into text that may be sent.
//!
//! PURE. A character can span several tokens, and so can a stop string: bytes that may still become part of
//! either are held back until it is certain.

/// What became of the bytes of one token.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// This text may be sent now; often empty.
    Text(String),
    /// A stop string was reached: the text before it, and which one it was.
    Stopped(String, usize),
}

/// Collects the bytes of one sequence.
#[derive(Debug)]
pub struct TextAssembler {
    stop: Vec<String>,
    /// Bytes of a character that is not complete yet.
    partial: Vec<u8>,
    /// Text that may be the beginning of a stop string.
    held: String,
}

impl TextAssembler {
    /// `stop`: strings before which the text ends; none is empty.
    #[must_use]
    pub fn new(stop: Vec<String>) -> Self {
        Self { stop, partial: Vec::new(), held: String::new() }
    }

    /// Takes the bytes of the next token.
    pub fn push(&mut self, bytes: &[u8]) -> Piece {
        self.partial.extend_from_slice(bytes);
        let complete = take_characters(&mut self.partial);
        self.held.push_str(&complete);
        let found = self
            .stop
            .iter()
            .enumerate()
            .filter_map(|(which, stop)| Some((self.held.find(stop.as_str())?, which)));
        if let Some((at, which)) = found.min() {
            self.held.truncate(at);
            return Piece::Stopped(std::mem::take(&mut self.held), which);
        }
        let certain = self.held.len() - self.undecided();
        let rest = self.held.split_off(certain);
        Piece::Text(std::mem::replace(&mut self.held, rest))
    }

    /// The text still held back when the generation ends otherwise.
    pub fn finish(mut self) -> String {
        if !self.partial.is_empty() {
            // The model ended inside a character.
            self.held.push(char::REPLACEMENT_CHARACTER);
        }
        self.held
    }

    /// Bytes at the end of `held` that begin a stop string: the longest such end over all stop strings.
    fn undecided(&self) -> usize {
        self.stop.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0)
    }
}

/// Length of the longest proper prefix of `stop` that `text` ends with.
fn overlap(text: &str, stop: &str) -> usize {
    stop.char_indices()
        .map(|(at, _)| at)
        .rev()
        .find(|&length| length <= text.len() && text.ends_with(&stop[..length]))
        .unwrap_or(0)
}

/// Moves all complete characters out of `bytes`; bytes that can never become one turn into U+FFFD.
fn take_characters(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    loop {
        match std::str::from_utf8(bytes) {
            Ok(complete) => {
                text.push_str(complete);
                bytes.clear();
                return text;
            }
            Err(error) => {
                let valid = error.valid_up_to();
                text.push_str(&String::from_utf8_lossy(&bytes[..valid]));
                let Some(invalid) = error.error_len() else {
                    bytes.drain(..valid);
                    return text;
                };
                text.push(char::REPLACEMENT_CHARACTER);
                bytes.drain(..valid + invalid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Pushes `pieces` and returns each text as it may be sent, the rest, and whether a stop string was reached.
    fn run(stop: &[&str], pieces: &[&[u8]]) -> (Vec<String>, bool) {
        let mut assembler = TextAssembler::new(stop.iter().map(ToString::to_string).collect());
        let mut sent = Vec::new();
        for piece in pieces {
            match assembler.push(piece) {
                Piece::Text(text) => sent.push(text),
                Piece::Stopped(text, _) => {
                    sent.push(text);
                    return (sent, true);
                }
            }
        }
        sent.push(assembler.finish());
        (sent, false)
    }

    fn check(stop: &[&str], pieces: &[&[u8]], expected: &[&str], stopped: bool) {
        let expected = expected.iter().map(ToString::to_string).collect();
        assert_eq!(run(stop, pieces), (expected, stopped), "stop {stop:?}, pieces {pieces:?}");
    }

    #[test]
    fn characters_are_never_split() {
        check(&[], &[b"a", b"b"], &["a", "b", ""], false);
        check(&[], &[b"\xe2\x82", b"\xac!"], &["", "\u{20ac}!", ""], false);
        check(&[], &[b"\xf0\x9f", b"\x90", b"\xb3"], &["", "", "\u{1f433}", ""], false);
        check(&[], &[b"x\xff", b"y"], &["x\u{fffd}", "y", ""], false);
        check(&[], &[b"x\xe2\x82"], &["x", "\u{fffd}"], false);
    }

    #[test]
    fn stop_strings_are_found_across_tokens() {
        check(&["END"], &[b"text E", b"N", b"D more"], &["text ", "", ""], true);
        check(&["END"], &[b"text E", b"X"], &["text ", "EX", ""], false);
        check(&["END"], &[b"text E"], &["text ", "E"], false);
        check(&["b", "ab"], &[b"a", b"b"], &["", ""], true);
        check(&["\n\n"], &[b"one\n", b"\ntwo"], &["one", ""], true);
        check(&["\u{20ac}"], &[b"5 \xe2\x82", b"\xac"], &["5 ", ""], true);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_repeated(text in "[ab\u{e9}\u{1f433}]{0,40}", stop in "[ab\u{e9}]{1,4}", size in 1usize..5) {
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let (sent, stopped) = run(&[&stop], &pieces);
            let expected = text.split(stop.as_str()).next().unwrap_or_default();
            prop_assert_eq!(stopped, text.contains(&stop));
            prop_assert_eq!(sent.concat(), expected);
        }
    }
}
