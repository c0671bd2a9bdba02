//! Characters of bytes that come in parts.

/// The beginning of a character whose other bytes are still to come; or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Partial {
    /// The bits so far.
    value: u32,
    /// Bytes that are still to come.
    missing: u32,
    /// The smallest character of that many bytes.
    least: u32,
}

/// What a byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// The last of this character.
    Character(u32),
    /// A part of one that goes on.
    Part,
    /// Nothing that UTF-8 has there.
    Invalid,
}

/// The largest character.
const LAST: u32 = 0x0010_ffff;

impl Partial {
    /// Whether nothing is still to come.
    pub const fn is_empty(self) -> bool {
        self.missing == 0
    }

    /// Takes the next byte.
    pub const fn take(&mut self, byte: u8) -> Taken {
        if self.missing == 0 {
            let (value, missing, least) = match byte {
                0x00..=0x7f => return Taken::Character(byte as u32),
                0xc2..=0xdf => (byte & 0x1f, 1, 0x80),
                0xe0..=0xef => (byte & 0x0f, 2, 0x800),
                0xf0..=0xf4 => (byte & 0x07, 3, 0x1_0000),
                _ => return Taken::Invalid,
            };
            *self = Self { value: value as u32, missing, least };
            return Taken::Part;
        }
        if byte & 0xc0 != 0x80 {
            return Taken::Invalid;
        }
        self.value = self.value << 6 | (byte & 0x3f) as u32;
        self.missing -= 1;
        match self.missing {
            0 if self.value >= self.least && self.value <= LAST => Taken::Character(self.value),
            0 => Taken::Invalid,
            _ => Taken::Part,
        }
    }

    /// The first and the last character that it can become; none if it can become none.
    pub const fn range(self) -> Option<(u32, u32)> {
        let bits = 6 * self.missing;
        let first = self.value << bits;
        let (low, high) = (first, first | ((1 << bits) - 1));
        let low = if low < self.least { self.least } else { low };
        let high = if high > LAST { LAST } else { high };
        if low <= high { Some((low, high)) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn characters(bytes: &[u8]) -> Option<(Vec<u32>, Partial)> {
        let (mut partial, mut found) = (Partial::default(), Vec::new());
        for byte in bytes {
            match partial.take(*byte) {
                Taken::Character(character) => found.push(character),
                Taken::Part => {}
                Taken::Invalid => return None,
            }
        }
        Some((found, partial))
    }

    #[test]
    fn characters_are_those_of_the_text() {
        let text = "a\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}";
        let (found, rest) = characters(text.as_bytes()).unwrap();
        assert_eq!(found, text.chars().map(u32::from).collect::<Vec<_>>());
        assert!(rest.is_empty());
        for bytes in
            [&[0x80][..], &[0xc0, 0x80], &[0xe0, 0x80, 0x80], &[0xf4, 0x90, 0x80, 0x80], &[0xc3, 0x41]]
        {
            assert_eq!(characters(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_missing_leaves_a_range() {
        let range = |bytes: &[u8]| characters(bytes).unwrap().1.range();
        assert_eq!(range(&[0xc3]), Some((0xc0, 0xff)));
        assert_eq!(range(&[0xe0]), Some((0x800, 0xfff)));
        assert_eq!(range(&[0xf4]), Some((0x10_0000, 0x10_ffff)));
        assert_eq!(range(&[0xf0, 0x9f, 0xa6]), Some((0x1_f980, 0x1_f9bf)));
    }
}
