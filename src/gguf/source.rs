//! Reads numbers and text from a file whose every length may be a lie.
//!
//! Each read first claims its bytes: they must lie inside the file and inside the header's limit.
//! Only then is anything read or allocated, so no caller needs a check of its own.

use std::io::{BufReader, Read, Seek, SeekFrom};

use super::HEADER_BYTES_MAX;
use super::error::Fault;

/// A file of known length, read from its start.
pub(super) struct Source<R> {
    reader: BufReader<R>,
    position: u64,
    file_bytes: u64,
}

impl<R: Read + Seek> Source<R> {
    /// Begins at the start of `reader`, which holds `file_bytes` bytes.
    pub(super) fn new(mut reader: R, file_bytes: u64) -> Result<Self, Fault> {
        reader.seek(SeekFrom::Start(0))?;
        Ok(Self { reader: BufReader::with_capacity(1 << 16, reader), position: 0, file_bytes })
    }

    /// Bytes from the start of the file.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Length of the file in bytes.
    pub(super) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Checks that `length` more bytes of `what` exist and are not too many; returns where they end.
    fn claim(&self, length: u64, what: &str) -> Result<u64, Fault> {
        let end = self.position.saturating_add(length);
        if end > self.file_bytes {
            return Err(Fault::Truncated { what: what.to_owned(), end, file_bytes: self.file_bytes });
        }
        if end > HEADER_BYTES_MAX {
            let what = format!("the header up to {what}, in bytes,");
            return Err(Fault::TooLarge { what, found: end, limit: HEADER_BYTES_MAX });
        }
        Ok(end)
    }

    /// Checks that `count` items of at least `item_bytes` bytes can follow.
    pub(super) fn claim_items(&self, count: u64, item_bytes: u64, what: &str) -> Result<(), Fault> {
        self.claim(count.saturating_mul(item_bytes), what).map(|_| ())
    }

    /// Passes over `length` bytes.
    pub(super) fn skip(&mut self, length: u64, what: &str) -> Result<(), Fault> {
        let end = self.claim(length, what)?;
        // The claim bounds `length` by `HEADER_BYTES_MAX`, far below `i64::MAX`.
        self.reader.seek_relative(length.cast_signed())?;
        self.position = end;
        Ok(())
    }

    /// Goes back (or on) to a position that was reached before.
    pub(super) fn seek_to(&mut self, position: u64) -> Result<(), Fault> {
        self.reader.seek(SeekFrom::Start(position))?;
        self.position = position;
        Ok(())
    }

    /// The next `N` bytes.
    pub(super) fn bytes<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Fault> {
        let end = self.claim(N as u64, what)?;
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        self.position = end;
        Ok(bytes)
    }

    /// The next little-endian 32-bit number.
    pub(super) fn u32(&mut self, what: &str) -> Result<u32, Fault> {
        self.bytes(what).map(u32::from_le_bytes)
    }

    /// The next little-endian 64-bit number.
    pub(super) fn u64(&mut self, what: &str) -> Result<u64, Fault> {
        self.bytes(what).map(u64::from_le_bytes)
    }

    /// The next text: its length in 8 bytes, then UTF-8 of at most `limit_bytes`. Other bytes become `�`.
    pub(super) fn text(&mut self, limit_bytes: u64, what: &str) -> Result<String, Fault> {
        let length = self.u64(what)?;
        let end = self.claim(length, what)?;
        if length > limit_bytes {
            let what = format!("{what}, in bytes,");
            return Err(Fault::TooLarge { what, found: length, limit: limit_bytes });
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        self.reader.read_exact(&mut bytes)?;
        self.position = end;
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// Passes over the next text, however long.
    pub(super) fn skip_text(&mut self, what: &str) -> Result<(), Fault> {
        let length = self.u64(what)?;
        self.skip(length, what)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn a_lying_length_is_refused_before_anything_is_allocated() {
        for length in [4_u64, 1 << 20, 1 << 62, u64::MAX] {
            let bytes: Vec<u8> = [&length.to_le_bytes()[..], b"abc"].concat();
            let mut source = Source::new(Cursor::new(&bytes), bytes.len() as u64).unwrap();
            let fault = source.text(u64::MAX, "the name").unwrap_err();
            assert!(matches!(fault, Fault::Truncated { file_bytes: 11, .. }), "{fault}");
        }
    }

    #[test]
    fn a_header_without_end_is_refused_at_the_limit() {
        let mut source = Source::new(std::io::Cursor::new(Vec::new()), u64::MAX).unwrap();
        let fault = source.skip(HEADER_BYTES_MAX + 1, "padding").unwrap_err();
        assert!(matches!(fault, Fault::TooLarge { limit: HEADER_BYTES_MAX, .. }), "{fault}");
    }

    #[test]
    fn text_that_is_not_utf8_is_replaced() {
        let bytes = [&2_u64.to_le_bytes()[..], &[b'a', 0xff]].concat();
        let mut source = Source::new(Cursor::new(&bytes), bytes.len() as u64).unwrap();
        assert_eq!(source.text(10, "the name").unwrap(), "a\u{fffd}");
    }

    #[test]
    fn a_file_that_shrinks_while_it_is_read_is_an_error() {
        let mut source = Source::new(Cursor::new(vec![0; 4]), 8).unwrap();
        assert!(matches!(source.u64("the count"), Err(Fault::Io(_))));
    }
}
