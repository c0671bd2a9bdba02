//! Where a text can be divided before it becomes tokens.
//!
//! PURE. llama.cpp takes a text apart at the special tokens that are written in it, and for each of them counts all parts
//! before it: a megabyte that is full of them takes half a minute. Behind such a token a text can be divided, because
//! what stands on either side becomes tokens by itself.

/// Texts that are one token each wherever they stand.
#[derive(Clone, Debug)]
pub struct Marks {
    /// A tree by bytes; the first node is its root.
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// By byte, in order.
    next: Vec<(u8, u32)>,
    /// Whether a text ends here, and whether white space behind it belongs to it.
    ends: Option<bool>,
}

impl Marks {
    /// These texts, and of each whether white space behind it belongs to it.
    pub fn new<B: AsRef<[u8]>>(texts: impl IntoIterator<Item = (B, bool)>) -> Self {
        let mut marks = Self { nodes: vec![Node::default()] };
        for (text, strips) in texts {
            let mut at = 0;
            for byte in text.as_ref() {
                at = match marks.nodes[at].next.binary_search_by_key(byte, |(byte, _)| *byte) {
                    Ok(found) => marks.nodes[at].next[found].1 as usize,
                    Err(place) => {
                        let new = marks.nodes.len();
                        let number = u32::try_from(new).expect("vocabularies are small");
                        marks.nodes[at].next.insert(place, (*byte, number));
                        marks.nodes.push(Node::default());
                        new
                    }
                };
            }
            marks.nodes[at].ends = (at > 0).then_some(strips);
        }
        marks
    }

    /// The text in parts of which each has at most about `most` marks.
    pub fn divide<'text>(&self, text: &'text str, most: usize) -> Vec<&'text str> {
        let (mut parts, mut start, mut at, mut count) = (Vec::new(), 0, 0, 0);
        let bytes = text.as_bytes();
        while at < bytes.len() {
            let Some((length, strips)) = self.longest(&bytes[at..]) else {
                at += 1;
                continue;
            };
            at += length;
            count += 1;
            if strips {
                at += bytes[at..]
                    .iter()
                    .take_while(|byte| byte.is_ascii_whitespace() || **byte == 0x0b)
                    .count();
            }
            if count >= most && at < bytes.len() && text.is_char_boundary(at) {
                parts.push(&text[start..at]);
                (start, count) = (at, 0);
            }
        }
        parts.push(&text[start..]);
        parts
    }

    /// How long the longest mark is with which a text begins, and whether it takes white space with it.
    fn longest(&self, text: &[u8]) -> Option<(usize, bool)> {
        let (mut at, mut found) = (0, None);
        for (index, byte) in text.iter().enumerate() {
            let next = &self.nodes[at].next;
            let Ok(place) = next.binary_search_by_key(byte, |(byte, _)| *byte) else { break };
            at = next[place].1 as usize;
            if let Some(strips) = self.nodes[at].ends {
                found = Some((index + 1, strips));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_divided_behind_marks_and_nothing_is_lost() {
        let marks = Marks::new([("<a>", false), ("<a>b", false), ("<c>", true), ("", false)]);
        let check = |text: &str, most, expected: &[&str]| assert_eq!(marks.divide(text, most), expected);
        check("", 1, &[""]);
        check("x<a>y<a", 1, &["x<a>", "y<a"]);
        check("<a>x<a>x<a>x", 2, &["<a>x<a>", "x<a>x"]);
        check("<a>b<a>", 1, &["<a>b", "<a>"]);
        check("<a>\n<c> \t<a>", 1, &["<a>", "\n<c> \t", "<a>"]);
        check("\u{e9}<a>\u{e9}", 1, &["\u{e9}<a>", "\u{e9}"]);
    }
}
