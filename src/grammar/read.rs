//! Reads a grammar as llama.cpp does, within bounds.

use std::collections::HashMap;

use super::{Bounds, Element, Grammar, MAX_REPETITIONS, Set, TokenElement, TokenName};

/// The rule that the text begins with.
const ROOT: &str = "root";

pub(super) fn read(text: &str, bounds: Bounds) -> Result<Grammar, String> {
    if text.len() > bounds.bytes {
        return Err(format!("expected at most {} bytes, got {}; shorten it", bounds.bytes, text.len()));
    }
    if text.contains('\0') {
        return Err("has a NUL character; write it as \\x00".into());
    }
    let mut reader = Reader {
        text,
        at: 0,
        bounds,
        names: HashMap::new(),
        rules: Vec::new(),
        sets: Vec::new(),
        tokens: Vec::new(),
        elements: 0,
    };
    reader.read().map_err(|fault| {
        let read = text.as_bytes().iter().take(reader.at);
        let line = read.filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line}: {fault}")
    })?;
    reader.finish()
}

/// Steps that follow each other.
type Alternative = Vec<Element>;

/// A rule while it is read.
struct Rule<'text> {
    /// Its own, or that of the rule that it is a part of.
    name: &'text str,
    /// `None` while nothing says what it is.
    alternatives: Option<Vec<Alternative>>,
}

struct Reader<'text> {
    text: &'text str,
    at: usize,
    bounds: Bounds,
    names: HashMap<&'text str, u32>,
    rules: Vec<Rule<'text>>,
    sets: Vec<Set>,
    tokens: Vec<TokenElement>,
    /// Of all rules so far.
    elements: usize,
}

impl<'text> Reader<'text> {
    fn read(&mut self) -> Result<(), String> {
        self.skip_space(true);
        while self.peek().is_some() {
            let name = self.name().ok_or("expected the name of a rule")?;
            let rule = self.rule(name);
            self.skip_space(false);
            if !self.text[self.at..].starts_with("::=") {
                return Err("expected ::= after the name of a rule".into());
            }
            self.at += 3;
            self.skip_space(true);
            let alternatives = self.alternatives(name, 0)?;
            self.rules[rule as usize].alternatives = Some(alternatives);
            if !matches!(self.peek(), None | Some(b'\r' | b'\n')) {
                return Err("expected the end of the line after a rule".into());
            }
            self.skip_space(true);
        }
        Ok(())
    }

    /// `a b | c`, inside this many parentheses.
    fn alternatives(&mut self, name: &'text str, nesting: usize) -> Result<Vec<Alternative>, String> {
        let mut alternatives = vec![self.sequence(name, nesting)?];
        while self.take(b'|') {
            self.skip_space(true);
            alternatives.push(self.sequence(name, nesting)?);
        }
        Ok(alternatives)
    }

    fn sequence(&mut self, name: &'text str, nesting: usize) -> Result<Alternative, String> {
        let mut elements = Alternative::new();
        // Where what can be repeated begins.
        let mut last = 0;
        self.spend(1)?;
        while let Some(byte) = self.peek() {
            if matches!(byte, b'*' | b'+' | b'?' | b'{') {
                let (least, most) = self.repetition()?;
                self.repeat(name, &mut elements, last, least, most)?;
                self.skip_space(nesting > 0);
                continue;
            }
            let before = elements.len();
            match byte {
                b'"' => self.literal(&mut elements)?,
                b'[' => elements.push(self.set()?),
                b'<' | b'!' => elements.push(self.token()?),
                b'(' => elements.push(self.group(name, nesting + 1)?),
                b'.' => {
                    self.at += 1;
                    elements.push(Element::Any);
                }
                _ => match self.name() {
                    Some(other) => elements.push(Element::Rule(self.rule(other))),
                    None => break,
                },
            }
            last = before;
            self.spend(elements.len() - before)?;
            self.skip_space(nesting > 0);
        }
        Ok(elements)
    }

    /// A rule of its own for what is in parentheses.
    fn group(&mut self, name: &'text str, nesting: usize) -> Result<Element, String> {
        if nesting > self.bounds.nesting {
            let most = self.bounds.nesting;
            return Err(format!("more than {most} parentheses inside each other; use rules of their own"));
        }
        self.at += 1;
        self.skip_space(true);
        let alternatives = self.alternatives(name, nesting)?;
        if !self.take(b')') {
            return Err("expected a closing parenthesis".into());
        }
        Ok(Element::Rule(self.add(name, Some(alternatives))))
    }

    /// `*`, `+`, `?`, `{2}`, `{2,}` or `{2,3}`: the least and the most.
    fn repetition(&mut self) -> Result<(usize, Option<usize>), String> {
        let sign = self.peek();
        self.at += 1;
        match sign {
            Some(b'*') => return Ok((0, None)),
            Some(b'+') => return Ok((1, None)),
            Some(b'?') => return Ok((0, Some(1))),
            _ => {}
        }
        let too_many = |number: usize| {
            format!("expected at most {MAX_REPETITIONS} repetitions, got {number}; {{2,}} sets no maximum")
        };
        self.skip_space(true);
        let least = self.number().ok_or("expected a number of repetitions")?;
        if least > MAX_REPETITIONS {
            return Err(too_many(least));
        }
        self.skip_space(true);
        let mut most = Some(least);
        if self.take(b',') {
            self.skip_space(true);
            most = self.number();
            self.skip_space(true);
        }
        if !self.take(b'}') || most.is_some_and(|most| most < least) {
            return Err("expected repetitions such as {2}, {2,} or {2,3}".into());
        }
        match most {
            Some(most) if most > MAX_REPETITIONS && !self.bounds.rounds_up => Err(too_many(most)),
            most => Ok((least, most.filter(|most| *most <= MAX_REPETITIONS))),
        }
    }

    /// Writes a repetition of the elements from `from` on out: the least as they are, each further one as a rule of its
    /// own that is empty or has one more.
    fn repeat(
        &mut self,
        name: &'text str,
        elements: &mut Alternative,
        from: usize,
        least: usize,
        most: Option<usize>,
    ) -> Result<(), String> {
        let one = elements.split_off(from);
        if one.is_empty() {
            return Err("expected something to repeat".into());
        }
        let further = most.map_or(1, |most| most - least);
        self.spend((one.len() + 3).saturating_mul(least + further))?;
        (0..least).for_each(|_| elements.extend_from_slice(&one));
        let mut last = None;
        for _ in 0..further {
            let rule = self.add(name, None);
            let next = if most.is_none() { Some(rule) } else { last };
            let one_more = one.iter().copied().chain(next.map(Element::Rule)).collect();
            self.rules[rule as usize].alternatives = Some(vec![one_more, Alternative::new()]);
            last = Some(rule);
        }
        elements.extend(last.map(Element::Rule));
        Ok(())
    }

    fn literal(&mut self, elements: &mut Alternative) -> Result<(), String> {
        self.at += 1;
        while !self.take(b'"') {
            elements.push(Element::Char(self.character('"')?));
        }
        Ok(())
    }

    fn set(&mut self) -> Result<Element, String> {
        self.at += 1;
        let mut set = Set { inverted: self.take(b'^'), ranges: Vec::new() };
        while !self.take(b']') {
            let low = self.character(']')?;
            let mut high = low;
            let rest = &self.text.as_bytes()[self.at..];
            if rest.first() == Some(&b'-') && rest.get(1) != Some(&b']') {
                self.at += 1;
                high = self.character(']')?;
                if high < low {
                    return Err("a range of characters ends before it begins; turn it around".into());
                }
            }
            self.spend(1)?;
            set.ranges.push((low, high));
        }
        if set.ranges.is_empty() {
            return Err("expected a character in [ ]; . is any".into());
        }
        self.sets.push(set);
        Ok(Element::Set(index(self.sets.len() - 1)))
    }

    /// One character of a literal or a set, which `end` would close.
    fn character(&mut self, end: char) -> Result<u32, String> {
        let mut rest = self.text[self.at..].chars();
        let missing = || format!("expected a closing {end}");
        let character = rest.next().ok_or_else(missing)?;
        self.at += character.len_utf8();
        if character != '\\' {
            return Ok(character.into());
        }
        let escaped = rest.next().ok_or_else(missing)?;
        self.at += escaped.len_utf8();
        match escaped {
            'x' => self.hex(2),
            'u' => self.hex(4),
            'U' => self.hex(8),
            't' => Ok('\t'.into()),
            'r' => Ok('\r'.into()),
            'n' => Ok('\n'.into()),
            '\\' | '"' | '[' | ']' | '-' => Ok(escaped.into()),
            other => Err(format!("unknown escape \\{}; write \\\\ for a backslash", other.escape_default())),
        }
    }

    fn hex(&mut self, digits: usize) -> Result<u32, String> {
        let found = self.text.get(self.at..self.at + digits);
        let all_hex = |text: &&str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let value = found.filter(all_hex).and_then(|text| u32::from_str_radix(text, 16).ok());
        self.at += digits;
        value.ok_or_else(|| format!("expected {digits} hexadecimal digits in an escape"))
    }

    /// `<name>`, `<[123]>`, or either with `!` before it.
    fn token(&mut self) -> Result<Element, String> {
        let inverted = self.take(b'!');
        let rest = &self.text[self.at..];
        if !rest.starts_with('<') {
            return Err("expected a token such as <name> after !".into());
        }
        let text = &rest[..=rest.find('>').ok_or("expected a closing >")?];
        self.at += text.len();
        let name = match text.strip_prefix("<[") {
            None => TokenName::Text(text.to_owned()),
            Some(id) => {
                let id = id.strip_suffix("]>").and_then(|id| id.parse().ok());
                TokenName::Id(id.ok_or("expected the id of a token such as <[123]>")?)
            }
        };
        self.tokens.push(TokenElement { name, inverted });
        Ok(Element::Token(index(self.tokens.len() - 1)))
    }

    fn name(&mut self) -> Option<&'text str> {
        let rest = &self.text[self.at..];
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
        let length = rest.bytes().take_while(is_part).count();
        self.at += length;
        Some(&rest[..length]).filter(|name| !name.is_empty())
    }

    /// The rule of a name.
    fn rule(&mut self, name: &'text str) -> u32 {
        if let Some(rule) = self.names.get(name) {
            return *rule;
        }
        let rule = self.add(name, None);
        self.names.insert(name, rule);
        rule
    }

    fn number(&mut self) -> Option<usize> {
        let rest = &self.text[self.at..];
        let length = rest.bytes().take_while(u8::is_ascii_digit).count();
        self.at += length;
        (length > 0).then(|| rest[..length].parse().unwrap_or(usize::MAX))
    }

    fn add(&mut self, name: &'text str, alternatives: Option<Vec<Alternative>>) -> u32 {
        self.rules.push(Rule { name, alternatives });
        index(self.rules.len() - 1)
    }

    fn spend(&mut self, elements: usize) -> Result<(), String> {
        self.elements = self.elements.saturating_add(elements);
        let most = self.bounds.elements;
        if self.elements > most {
            return Err(format!("more than {most} elements, repetitions written out; repeat less"));
        }
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
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
                    let rest = self.text[self.at..].bytes();
                    self.at += rest.take_while(|byte| !matches!(byte, b'\r' | b'\n')).count();
                }
                b' ' | b'\t' => self.at += 1,
                b'\r' | b'\n' if line_ends => self.at += 1,
                _ => return,
            }
        }
    }

    /// The grammar, if all of its rules are there and none begins with itself.
    fn finish(self) -> Result<Grammar, String> {
        let shown = |name: &str| name.chars().take(64).collect::<String>();
        let root = *self.names.get(ROOT).ok_or("there is no rule root, with which the text begins")?;
        let mut rules = Vec::with_capacity(self.rules.len());
        for rule in &self.rules {
            let missing = || format!("the rule {} is used and is not there", shown(rule.name));
            rules.push(rule.alternatives.as_deref().ok_or_else(missing)?);
        }
        if let Some(rule) = super::order::left_recursive(&rules) {
            let name = shown(self.rules[rule].name);
            return Err(format!("the rule {name} begins with itself (left recursion); turn it around"));
        }
        let mut elements = Vec::with_capacity(self.elements);
        let starts = rules.iter().map(|alternatives| {
            let starts = alternatives.iter().map(|alternative| {
                let start = index(elements.len());
                elements.extend_from_slice(alternative);
                elements.push(Element::End);
                start
            });
            starts.collect()
        });
        let rules = starts.collect();
        Ok(Grammar { elements, rules, sets: self.sets, tokens: self.tokens, root })
    }
}

/// Bounded by [`Bounds`], far below 2^32.
fn index(at: usize) -> u32 {
    u32::try_from(at).expect("grammars are bounded")
}
