//! Bounds grammars before a worker reads them.
//!
//! PURE. llama.cpp's reader (`llama-grammar.cpp`) recurses into each parenthesis. Then it looks for rules that begin
//! with themselves, and for that goes from rule to rule through whatever can come first: into each as deep as they
//! reach, and again for each way that leads there. A grammar of a few lines can so take for ever or end the worker.
//! This reads a grammar as llama.cpp does, as far as those ways are concerned, and refuses it where they are too many.

use std::collections::HashMap;

/// The most bytes of a grammar.
const MAX_BYTES: usize = 64 << 10;
/// The most parentheses inside each other.
const MAX_NESTING: usize = 64;
/// The most times that something is repeated; llama.cpp's own limit. It reads a larger maximum as none.
const MAX_REPETITIONS: usize = 2000;
/// The most elements, all repetitions written out: llama.cpp writes them out.
const MAX_ELEMENTS: usize = 100_000;
/// The longest way from rule to rule through what comes first.
const MAX_DEPTH: usize = 256;
/// The most elements that are looked at along all ways; some ten milliseconds.
const MAX_LOOKS: usize = 5_000_000;

/// Whether a grammar is within the bounds; else what is wrong with it. A rule that is missing is left to llama.cpp.
pub(super) fn check(text: &str) -> Result<(), String> {
    if text.len() > MAX_BYTES {
        return Err(format!("expected at most {MAX_BYTES} bytes, got {}; shorten it", text.len()));
    }
    if text.contains('\0') {
        return Err("has a NUL character, where llama.cpp would end; remove it".into());
    }
    let mut reader =
        Reader { text: text.as_bytes(), at: 0, names: HashMap::new(), rules: Vec::new(), elements: 0 };
    reader.read().map_err(|fault| {
        let read = reader.text.iter().take(reader.at);
        let line = read.filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line}: {fault}")
    })?;
    Ways { found: vec![None; reader.rules.len()], rules: &reader.rules }.check()
}

/// Something of a rule, as far as it matters: which rules can come first in it, how long it is.
#[derive(Clone, Debug, Default)]
struct Part {
    /// Rules at its beginning, in order.
    leading: Vec<usize>,
    /// Whether a character follows them.
    closed: bool,
    elements: usize,
}

impl Part {
    fn rule(rule: usize) -> Self {
        Self { leading: vec![rule], closed: false, elements: 1 }
    }

    fn characters(elements: usize) -> Self {
        Self { leading: Vec::new(), closed: elements > 0, elements }
    }

    fn append(&mut self, next: &Self) {
        if !self.closed {
            self.leading.extend_from_slice(&next.leading);
            self.closed = next.closed;
        }
        self.elements += next.elements;
    }
}

/// The alternatives of a rule.
type Rule = Vec<Part>;

struct Reader<'text> {
    text: &'text [u8],
    at: usize,
    names: HashMap<&'text [u8], usize>,
    rules: Vec<Rule>,
    /// Of all rules so far.
    elements: usize,
}

impl Reader<'_> {
    fn read(&mut self) -> Result<(), String> {
        self.skip_space(true);
        while self.peek().is_some() {
            let rule = self.name().ok_or("expected the name of a rule")?;
            self.skip_space(false);
            if !self.text[self.at..].starts_with(b"::=") {
                return Err("expected ::= after the name of a rule".into());
            }
            self.at += 3;
            self.skip_space(true);
            self.rules[rule] = self.alternatives(0)?;
            if !matches!(self.peek(), None | Some(b'\r' | b'\n')) {
                return Err("expected the end of the line after a rule".into());
            }
            self.skip_space(true);
        }
        Ok(())
    }

    /// `a b | c`, inside this many parentheses.
    fn alternatives(&mut self, nesting: usize) -> Result<Rule, String> {
        let mut alternatives = vec![self.sequence(nesting)?];
        while self.take(b'|') {
            self.skip_space(true);
            alternatives.push(self.sequence(nesting)?);
        }
        Ok(alternatives)
    }

    fn sequence(&mut self, nesting: usize) -> Result<Part, String> {
        let (mut before, mut last) = (Part::default(), Part::default());
        while let Some(byte) = self.peek() {
            let next = match byte {
                b'"' => self.characters(b'"')?,
                b'[' => self.characters(b']')?,
                b'<' | b'!' => self.token()?,
                b'.' => {
                    self.at += 1;
                    Part::characters(1)
                }
                b'(' => self.group(nesting + 1)?,
                b'*' | b'+' | b'?' | b'{' => {
                    let (least, most) = self.repetition()?;
                    last = self.repeat(&last, least, most)?;
                    self.skip_space(nesting > 0);
                    continue;
                }
                _ => match self.name() {
                    Some(rule) => Part::rule(rule),
                    None => break,
                },
            };
            self.spend(next.elements)?;
            before.append(&std::mem::replace(&mut last, next));
            self.skip_space(nesting > 0);
        }
        before.append(&last);
        Ok(before)
    }

    /// A rule of its own for what is in parentheses.
    fn group(&mut self, nesting: usize) -> Result<Part, String> {
        if nesting > MAX_NESTING {
            return Err(format!(
                "more than {MAX_NESTING} parentheses inside each other; use rules of their own"
            ));
        }
        self.at += 1;
        self.skip_space(true);
        let alternatives = self.alternatives(nesting)?;
        if !self.take(b')') {
            return Err("expected a closing parenthesis".into());
        }
        Ok(Part::rule(self.add(alternatives)))
    }

    /// `*`, `+`, `?`, `{2}`, `{2,}` or `{2,3}`: the least and the most.
    fn repetition(&mut self) -> Result<(usize, Option<usize>), String> {
        let sign = self.text[self.at];
        self.at += 1;
        match sign {
            b'*' => return Ok((0, None)),
            b'+' => return Ok((1, None)),
            b'?' => return Ok((0, Some(1))),
            _ => {}
        }
        let within = |number: usize| (number <= MAX_REPETITIONS).then_some(number);
        self.skip_space(true);
        let least = self.number().ok_or("expected a number of repetitions")?;
        let too_many = || format!("expected at most {MAX_REPETITIONS} repetitions, got {least}");
        within(least).ok_or_else(too_many)?;
        self.skip_space(true);
        let mut most = Some(least);
        if self.take(b',') {
            self.skip_space(true);
            most = self.number().and_then(within);
            self.skip_space(true);
        }
        if !self.take(b'}') || most.is_some_and(|most| most < least) {
            return Err("expected repetitions such as {2}, {2,} or {2,3}".into());
        }
        Ok((least, most))
    }

    /// Writes a repetition out as llama.cpp does: the least as they are, each further one as a rule of its own that is
    /// empty or has one more.
    fn repeat(&mut self, part: &Part, least: usize, most: Option<usize>) -> Result<Part, String> {
        if part.elements == 0 {
            return Err("expected something to repeat".into());
        }
        let further = most.map_or(1, |most| most - least);
        self.spend(part.elements.saturating_add(2).saturating_mul(least + further))?;
        let mut written = Part::default();
        (0..least).for_each(|_| written.append(part));
        let mut last = None;
        for _ in 0..further {
            let rule = self.add(Vec::new());
            let mut one_more = part.clone();
            if let Some(next) = if most.is_none() { Some(rule) } else { last } {
                one_more.append(&Part::rule(next));
            }
            self.rules[rule] = vec![one_more, Part::default()];
            last = Some(rule);
        }
        if let Some(rule) = last {
            written.append(&Part::rule(rule));
        }
        Ok(written)
    }

    /// A literal or a class of characters, up to `end`. Counts an escape's digits as characters: never too few.
    fn characters(&mut self, end: u8) -> Result<Part, String> {
        self.at += 1;
        let mut count = 0;
        loop {
            match self.peek() {
                None => return Err(format!("expected a closing {}", char::from(end))),
                Some(byte) if byte == end => break,
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
            }
            count += 1;
        }
        self.at += 1;
        Ok(Part::characters(count))
    }

    /// `<name>`, `<[123]>`, or either with `!` before it.
    fn token(&mut self) -> Result<Part, String> {
        let length = self.text[self.at..].iter().position(|byte| *byte == b'>');
        self.at += length.ok_or("expected a closing >")? + 1;
        Ok(Part::characters(1))
    }

    fn name(&mut self) -> Option<usize> {
        let rest = &self.text[self.at..];
        let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-').count();
        let name = &rest[..length];
        self.at += length;
        if length == 0 {
            return None;
        }
        if let Some(rule) = self.names.get(name) {
            return Some(*rule);
        }
        let rule = self.add(Vec::new());
        self.names.insert(name, rule);
        Some(rule)
    }

    fn number(&mut self) -> Option<usize> {
        let rest = &self.text[self.at..];
        let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += length;
        let digits = std::str::from_utf8(&rest[..length]).ok().filter(|digits| !digits.is_empty())?;
        Some(digits.parse().unwrap_or(usize::MAX))
    }

    fn add(&mut self, alternatives: Rule) -> usize {
        self.rules.push(alternatives);
        self.rules.len() - 1
    }

    fn spend(&mut self, elements: usize) -> Result<(), String> {
        self.elements = self.elements.saturating_add(elements);
        if self.elements > MAX_ELEMENTS {
            return Err(format!("more than {MAX_ELEMENTS} elements, repetitions written out; repeat less"));
        }
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Spaces and comments, and line ends where they mean nothing.
    fn skip_space(&mut self, line_ends: bool) {
        while let Some(byte) = self.peek() {
            match byte {
                b'#' => {
                    let rest = &self.text[self.at..];
                    self.at += rest.iter().take_while(|byte| !matches!(byte, b'\r' | b'\n')).count();
                }
                b' ' | b'\t' => self.at += 1,
                b'\r' | b'\n' if line_ends => self.at += 1,
                _ => return,
            }
        }
    }
}

/// What it takes to look for rules that begin with themselves.
struct Ways<'rules> {
    rules: &'rules [Rule],
    /// Elements looked at from each rule on, and how deep that reaches; zeros while it is looked at.
    found: Vec<Option<(usize, usize)>>,
}

impl Ways<'_> {
    fn check(mut self) -> Result<(), String> {
        let mut looks = 0_usize;
        for rule in 0..self.rules.len() {
            looks = looks.saturating_add(self.from(rule, 1)?.0);
            if looks > MAX_LOOKS {
                return Err("too many ways to begin: its alternatives multiply; simplify the rules".into());
            }
        }
        Ok(())
    }

    fn from(&mut self, rule: usize, depth: usize) -> Result<(usize, usize), String> {
        match self.found[rule] {
            Some((0, _)) => return Err("a rule begins with itself (left recursion); turn it around".into()),
            Some((_, below)) if depth + below > MAX_DEPTH => return Err(too_deep()),
            Some(known) => return Ok(known),
            None if depth > MAX_DEPTH => return Err(too_deep()),
            None => self.found[rule] = Some((0, 0)),
        }
        let rules = self.rules;
        let (mut looks, mut below) = (1_usize, 0);
        for alternative in &rules[rule] {
            looks = looks.saturating_add(alternative.elements);
            for &next in &alternative.leading {
                let (further, deeper) = self.from(next, depth + 1)?;
                looks = looks.saturating_add(further);
                below = below.max(deeper + 1);
                // As llama.cpp sees it, a rule can be empty if one of its alternatives is.
                if rules[next].iter().all(|alternative| alternative.elements > 0) {
                    break;
                }
            }
        }
        self.found[rule] = Some((looks, below));
        Ok((looks, below))
    }
}

fn too_deep() -> String {
    format!("more than {MAX_DEPTH} rules that begin with each other; simplify the rules")
}

#[cfg(test)]
#[path = "gbnf_tests.rs"]
mod tests;
