//! Breaks a valid GGUF file in some 700 ways, to show that no file can harm a server that loads it.
//!
//! Input: the bytes of a valid file and a seed. Output: broken copies, each with a name that says what
//! was done; the same input gives the same output. The layout is found by a small walker that shares
//! nothing with the reader under test; on a file that is not valid, or has but one tensor, it panics.

use std::collections::HashSet;
use std::ops::Range;

/// Value types of GGUF.
const TEXT: u64 = 8;
const ARRAY: u64 = 9;
/// The largest number in four bytes.
const MAX_32: u64 = (1 << 32) - 1;
/// One broken file.
pub struct Corrupt {
    /// What was done to it.
    pub name: String,
    /// The whole file.
    pub bytes: Vec<u8>,
    /// Whether no loader can rightly accept it (truncated data, impossible sizes, a tensor missing), as
    /// opposed to damage that may go unnoticed, or that a loader may know how to live with.
    pub must_fail: bool,
}

/// Hands the broken copies of `valid` to `take` one by one, so that memory need hold only one.
pub fn for_each(valid: &[u8], seed: u64, take: &mut dyn FnMut(Corrupt)) {
    // Magic number (4 bytes), version (4), tensor count (8) and key count (8) stand before the first key.
    let [tensor_count, key_count] = [8, 16].map(|at| number_at(valid, at, 8));
    let entries = items(valid, 24, key_count, |head| {
        let value_type = number_at(valid, head, 4);
        (head + 4, value_end(valid, head + 4, value_type))
    });
    let infos_at = entries.last().expect("a valid file has keys").end;
    let tensors = items(valid, infos_at, tensor_count, |head| {
        let body = head + 4 + 8 * size(number_at(valid, head, 4));
        (body, body + 4 + 8)
    });
    let infos = infos_at..tensors.last().expect("a valid file has tensors").end;
    let alignment = entries.iter().find(|entry| entry.name == "general.alignment");
    let alignment = alignment.map_or(32, |entry| size(number_at(valid, entry.body, 4)));
    let data_at = infos.end.next_multiple_of(alignment);
    let (entries, tensors, random, seen) = (&entries[..], &tensors[..], SplitMix(seed), HashSet::new());
    let mut maker = Maker { valid, entries, tensors, infos, alignment, data_at, random, seen, take };
    maker.truncations();
    maker.header();
    maker.tensors();
    maker.values();
    maker.keys();
    maker.noise();
}

/// The generator SplitMix64.
struct SplitMix(u64);

impl SplitMix {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn within(&mut self, range: &Range<usize>) -> usize {
        range.start + size(self.draw() % range.len() as u64)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.draw().to_le_bytes()[0]).collect()
    }
}

/// Where a key and its value lie, or a tensor's description. After the name comes the head: the value's
/// type (4 bytes), or the number of dimensions (4) and the dimensions (8 each). The body is the value, or
/// the tensor's type (4) and offset (8).
struct Item {
    name: String,
    start: usize,
    head: usize,
    body: usize,
    end: usize,
}

/// The `count` items from `at`; `rest` tells an item's body and end from its head.
fn items(valid: &[u8], at: usize, count: u64, rest: impl Fn(usize) -> (usize, usize)) -> Vec<Item> {
    let mut start = at;
    let next = |_| {
        let head = value_end(valid, start, TEXT);
        let (name, (body, end)) = (String::from_utf8_lossy(&valid[start + 8..head]).into_owned(), rest(head));
        let item = Item { name, start, head, body, end };
        start = end;
        item
    };
    (0..count).map(next).collect()
}

fn value_end(bytes: &[u8], at: usize, value_type: u64) -> usize {
    match value_type {
        TEXT => at + 8 + size(number_at(bytes, at, 8)),
        ARRAY => elements_end(bytes, at, number_at(bytes, at + 4, 8)),
        fixed => at + [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8][size(fixed)],
    }
}

/// Where the first `count` elements of the array at `at` end.
fn elements_end(bytes: &[u8], at: usize, count: u64) -> usize {
    let element = number_at(bytes, at, 4);
    (0..count).fold(at + 12, |at, _| value_end(bytes, at, element))
}

fn number_at(bytes: &[u8], at: usize, width: usize) -> u64 {
    bytes[at..at + width].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn size(number: u64) -> usize {
    usize::try_from(number).expect("a valid file's sizes fit")
}

/// The bytes of a text as GGUF stores it.
fn text(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_le_bytes()[..], bytes].concat()
}

/// A number in decimal digits, or in hexadecimal ones if it is large.
fn shown(number: u64) -> String {
    if number < 1 << 30 { number.to_string() } else { format!("{number:#x}") }
}

/// Makes the broken files, and sees to it that no two are alike.
struct Maker<'a> {
    valid: &'a [u8],
    entries: &'a [Item],
    tensors: &'a [Item],
    /// Where the tensors' descriptions lie.
    infos: Range<usize>,
    alignment: usize,
    data_at: usize,
    random: SplitMix,
    /// Changes made so far: where, and to what; nothing stands for the end of the file.
    seen: HashSet<(usize, Vec<u8>)>,
    take: &'a mut dyn FnMut(Corrupt),
}

impl<'a> Maker<'a> {
    fn of_type(&self, value_type: u64) -> impl Iterator<Item = &'a Item> + use<'a> {
        let valid = self.valid;
        self.entries.iter().filter(move |entry| number_at(valid, entry.head, 4) == value_type)
    }

    /// Ends the file at byte `at`, unless that has been done already.
    fn cut(&mut self, at: usize, place: &str) {
        if self.seen.insert((at, Vec::new())) {
            let (name, bytes) = (format!("truncated at byte {at}, {place}"), self.valid[..at].to_vec());
            (self.take)(Corrupt { name, bytes, must_fail: true });
        }
    }

    /// Overwrites bytes; `false` if that changes nothing or has been done already.
    fn put(&mut self, name: String, at: usize, bytes: &[u8], must_fail: bool) -> bool {
        let differs = |(old, new): (&u8, &u8)| old != new;
        let mut pairs = self.valid[at..].iter().zip(bytes);
        let Some(first) = pairs.clone().position(differs) else { return false };
        let last = pairs.rposition(differs).unwrap_or(first);
        let new = self.seen.insert((at + first, bytes[first..=last].to_vec()));
        if new {
            let bytes = [&self.valid[..at], bytes, &self.valid[at + bytes.len()..]].concat();
            (self.take)(Corrupt { name, bytes, must_fail });
        }
        new
    }

    /// Overwrites a number of `width` bytes by each of `numbers`.
    fn numbers(&mut self, what: &str, at: usize, width: usize, numbers: &[u64], must_fail: bool) {
        for number in numbers {
            self.put(format!("{what} {}", shown(*number)), at, &number.to_le_bytes()[..width], must_fail);
        }
    }

    /// Replaces a part before the data, which stays aligned, and adds `keys` to the count of keys.
    fn replace(&mut self, name: String, part: Range<usize>, new: &[u8], keys: i64, must_fail: bool) {
        let mut bytes = [&self.valid[..part.start], new, &self.valid[part.end..self.infos.end]].concat();
        bytes.resize(bytes.len().next_multiple_of(self.alignment), 0);
        bytes.extend_from_slice(&self.valid[self.data_at..]);
        let count = (self.entries.len() as u64).wrapping_add_signed(keys);
        bytes[16..24].copy_from_slice(&count.to_le_bytes());
        (self.take)(Corrupt { name, bytes, must_fail });
    }

    fn truncations(&mut self) {
        for (at, next) in [(0, "magic"), (4, "version"), (8, "tensor count"), (16, "key count")] {
            self.cut(at, &format!("before the {next}"));
        }
        for Item { name, start, head, body, .. } in self.entries.iter().chain(self.tensors) {
            for (at, next) in [(*start, "name"), (start + 8, "text"), (*head, "head"), (*body, "body")] {
                self.cut(at, &format!("before the {next} of {name}"));
            }
        }
        for Item { name, body, .. } in self.tensors {
            let offset = size(number_at(self.valid, body + 4, 8));
            self.cut(self.data_at + offset, &format!("before the data of {name}"));
        }
        self.cut(self.infos.end, "after the last description");
        self.cut(self.valid.len() - 1, "one byte short");
        for range in [1..24, 24..self.infos.start, self.infos.clone(), self.data_at..self.valid.len()] {
            for _ in 0..8 {
                let at = self.random.within(&range);
                self.cut(at, "at random");
            }
        }
    }

    /// The header, lengths of texts and arrays, and types of values.
    fn header(&mut self) {
        for magic in [b"GGML", b"gguf", b"FUGG", b"vers", b"<htm", b"\0\0\0\0"] {
            self.put(format!("magic {}", magic.escape_ascii()), 0, magic, true);
        }
        self.numbers("version", 4, 4, &[0, 1, 4, MAX_32], true);
        let [version, tensors, keys] =
            [4..8, 8..16, 16..24].map(|field| self.valid[field].iter().rev().copied().collect::<Vec<u8>>());
        self.put("version big-endian".to_owned(), 4, &version, true);
        self.put("header big-endian".to_owned(), 4, &[version, tensors, keys].concat(), true);
        for (what, at) in [("tensor count", 8), ("key count", 16)] {
            let count = number_at(self.valid, at, 8);
            self.numbers(what, at, 8, &[0, count + 1, count - 1, 1 << 31, 1 << 63, u64::MAX], true);
        }
        let names = [&self.entries[0], &self.tensors[self.tensors.len() - 1]];
        let names = names.map(|item| (format!("name {}", item.name), item.start));
        let texts = self.of_type(TEXT).step_by(4).map(|item| (format!("text of {}", item.name), item.body));
        let tokens = self.of_type(ARRAY).take(1).map(|entry| ("first token".to_owned(), entry.body + 12));
        for (what, at) in names.into_iter().chain(texts).chain(tokens) {
            let length = number_at(self.valid, at, 8);
            let lengths = [0, length - 1, length + 1, 1 << 32, 1 << 63];
            self.numbers(&format!("{what}: length"), at, 8, &lengths, true);
        }
        for Item { name, body, .. } in self.of_type(ARRAY) {
            let counts = [1 << 32, 1 << 61, 1 << 63, u64::MAX];
            self.numbers(&format!("{name}: element count"), body + 4, 8, &counts, true);
            self.numbers(&format!("{name}: element type"), *body, 4, &[ARRAY, 13, 99, MAX_32], true);
        }
        for Item { name, head, .. } in self.entries.iter().step_by(5) {
            self.numbers(&format!("{name}: value type"), *head, 4, &[13, 255, MAX_32], true);
        }
    }

    fn tensors(&mut self) {
        let (tensors, first) = (self.tensors, self.tensors[0].name.as_bytes());
        let (alignment, beyond) = (self.alignment as u64, self.valid.len().next_multiple_of(self.alignment));
        for index in [1, tensors.len() / 2, tensors.len() - 1] {
            let Item { name, start, head, body, .. } = &tensors[index];
            self.numbers(&format!("{name}: dimensions"), *head, 4, &[0, 5, 255, MAX_32], true);
            let lengths = [0, number_at(self.valid, head + 4, 8) + 1, 1 << 62, 1 << 63, u64::MAX];
            self.numbers(&format!("{name}: row length"), head + 4, 8, &lengths, true);
            let overflow = (1_u64 << 33).to_le_bytes().repeat((body - head - 4) / 8);
            self.put(format!("{name}: every dimension 2^33"), head + 4, &overflow, true);
            // Two types that were withdrawn, three that never were, and F16.
            self.numbers(&format!("{name}: type"), *body, 4, &[4, 31, 200, 1 << 31, MAX_32], true);
            self.numbers(&format!("{name}: type"), *body, 4, &[1], false);
            let (what, offset) = (format!("{name}: offset"), number_at(self.valid, body + 4, 8));
            self.numbers(&what, body + 4, 8, &[offset + 1, beyond as u64, 1 << 63, u64::MAX - 31], true);
            self.numbers(&what, body + 4, 8, &[0, offset + alignment], false); // an overlap, a gap
            for new in [&b"nonsense.weight"[..], b"", first, &[b'n'; 70], b"\xff\xfe\x00\xc0"] {
                let name = format!("{name}: renamed to \"{}\"", new.escape_ascii());
                self.replace(name, *start..*head, &text(new), 0, true);
            }
        }
    }

    /// Numbers that describe the model, and its vocabulary.
    fn values(&mut self) {
        for Item { name, head, body, .. } in self.of_type(6) {
            for new in [0.0, 1.0, -1.0, f32::NAN, f32::INFINITY] {
                self.put(format!("{name} {new:?}"), *body, &new.to_le_bytes(), false);
            }
            self.numbers(&format!("{name}: value type"), *head, 4, &[4], false);
        }
        for Item { name, body, .. } in self.of_type(4) {
            let (architecture, ending) = name.split_once('.').unwrap_or_default();
            let valid = number_at(self.valid, *body, 4);
            let new = [0, 1, valid + 1 + valid % 2, (1 << 31) - 1, MAX_32];
            for new in new.into_iter().filter(|_| !["general", "tokenizer"].contains(&architecture)) {
                let contradicts_shapes = match ending {
                    "block_count" => new == 0 || new > valid,
                    "rope.dimension_count" => new > 1 << 30,
                    "embedding_length" | "feed_forward_length" => true,
                    _ => ending.starts_with("attention.head_count"),
                };
                self.numbers(name, *body, 4, &[new], contradicts_shapes);
            }
        }
        let mut ids = vec![(1 << 31) - 1, MAX_32];
        for Item { name, body, end, .. } in self.of_type(ARRAY) {
            let (count, tokens) = (number_at(self.valid, body + 4, 8), name == "tokenizer.ggml.tokens");
            ids.extend(tokens.then_some(count));
            for kept in [0, 1, count / 2, count - 1] {
                let items = &self.valid[body + 12..elements_end(self.valid, *body, kept)];
                let new = [&kept.to_le_bytes(), items].concat();
                self.replace(format!("{name}: {kept} of {count} kept"), body + 4..*end, &new, 0, tokens);
            }
        }
        for entry in self.of_type(4).filter(|entry| entry.name.ends_with("_token_id")) {
            self.numbers(&entry.name, entry.body, 4, &ids, false);
        }
    }

    /// Texts replaced, and keys added, repeated and removed.
    fn keys(&mut self) {
        let (garbage, braces) = (self.random.bytes(300), b"{{".repeat(1 << 19));
        #[rustfmt::skip]
        let new_texts: [(&str, &[u8]); 6] = [
            ("empty", b""), ("unknown", b"nonsense"), ("random bytes", &garbage), ("1 MiB of {{", &braces),
            ("a loop left open", b"{% for m in messages %}{{ m"),
            ("an endless loop", b"{% for i in range(9999999999) %}x{% endfor %}"),
        ];
        let changed = ["general.architecture", "ggml.model", "ggml.pre", "chat_template"];
        let after = self.infos.start..self.infos.start;
        for Item { name, start, body, end, .. } in self.entries {
            for (what, new) in new_texts.iter().filter(|_| changed.iter().any(|end| name.ends_with(end))) {
                let must_fail = name == "general.architecture";
                self.replace(format!("{name}: {what}"), *body..*end, &text(new), 0, must_fail);
            }
            let needed = ["architecture", "block_count"].iter().any(|end| name.ends_with(end));
            self.replace(format!("{name} removed"), *start..*end, &[], -1, needed);
            if needed {
                self.replace(format!("{name} twice"), after.clone(), &self.valid[*start..*end], 1, false);
            }
        }
        // A file that has this key already gets it twice.
        for alignment in [0, 3, 1 << 31] {
            let entry = [text(b"general.alignment"), [4, alignment].map(u32::to_le_bytes).concat()].concat();
            let name = format!("general.alignment {}", shown(alignment.into()));
            self.replace(name, after.clone(), &entry, 1, true);
        }
    }

    /// Bits flipped, blocks overwritten, and a tail.
    fn noise(&mut self) {
        for (place, range, flips, blocks) in [
            ("header", 0..24, 10, 0),
            ("metadata", 24..self.infos.start, 30, 3),
            ("descriptions", self.infos.clone(), 20, 0),
            ("data", self.data_at..self.valid.len(), 20, 5),
        ] {
            let mut left = flips;
            while left > 0 {
                let (mut at, bit) = (self.random.within(&range), self.random.draw() % 8);
                if place == "metadata" {
                    // Most of it is vocabulary; that is given no more than other keys.
                    let entry = &self.entries[at % self.entries.len()];
                    at = self.random.within(&(entry.start..entry.end.min(entry.start + 256)));
                }
                let name = format!("bit {bit} of byte {at} flipped, in the {place}");
                left -= u32::from(self.put(name, at, &[self.valid[at] ^ (1 << bit)], false));
            }
            for _ in 0..blocks {
                for (what, block) in [("zeroed", vec![0; 4096]), ("made random", self.random.bytes(4096))] {
                    let at = self.random.within(&(range.start..range.end - 4096));
                    self.put(format!("4 KiB at byte {at} {what}, in the {place}"), at, &block, false);
                }
            }
        }
        self.put("the first 4 KiB zeroed".to_owned(), 0, &[0; 4096], true);
        let bytes = [self.valid, &self.random.bytes(4096)].concat();
        (self.take)(Corrupt { name: "4 KiB of random bytes appended".to_owned(), bytes, must_fail: false });
    }
}
