//! What may follow a text.
//!
//! A *place* is a step of an alternative and the place at which it goes on after that alternative: a stack whose lower
//! parts many stacks share. A *state* is all places that a text can have come to. What follows a place or a state is
//! computed once. The work is counted: a grammar in which the places multiply is given up.

use std::collections::{HashMap, HashSet};

use super::utf8::{Partial, Taken};
use super::{Element, Grammar, TokenElement, TokenName};
use crate::generation::Token;

/// The work that a token may take, and what of it comes back with each token: at most some 200 and 20 milliseconds.
const MOST_WORK: u64 = 6_000_000;
const WORK_PER_TOKEN: u64 = 400_000;
/// What a place that is looked up costs, of one that is copied.
const LOOKED_UP: u64 = 8;
/// How many places are compared with a character while another one is followed.
const COMPARED: u64 = 8;
/// The most that is remembered of places and what follows them; with more, all but the present state is forgotten.
#[cfg(not(test))]
const MOST_REMEMBERED: usize = 400_000;
#[cfg(test)]
const MOST_REMEMBERED: usize = 10_000;

/// The grammar has too many ways to read the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "too many ways to read the text: repetitions or alternatives that can be told apart only later multiply; simplify it"
)]
pub struct Exhausted;

/// An index into [`Follower::places`], from 1; 0 is the end of the text.
type PlaceId = u32;
const END: PlaceId = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    /// The index of an element that is no end.
    at: u32,
    /// Where it goes on after the alternative.
    then: PlaceId,
}

/// An index into [`Follower::states`]; 0 is the one without places.
type StateId = u32;
const NOWHERE: StateId = 0;

/// Follows one text.
#[derive(Debug)]
pub struct Follower {
    grammar: Grammar,
    places: Vec<Place>,
    place_ids: HashMap<Place, PlaceId>,
    /// By place: the places with a character or a token, and perhaps the end, that it leads to without either. A part of
    /// `led`.
    leads: HashMap<PlaceId, (u32, u32)>,
    led: Vec<PlaceId>,
    /// In order.
    states: Vec<Box<[PlaceId]>>,
    state_ids: HashMap<Box<[PlaceId]>, StateId>,
    /// By state and character.
    steps: HashMap<(StateId, u32), StateId>,
    /// Places of all states.
    held: usize,
    /// What was left when all was forgotten that could be.
    kept: usize,
    now: StateId,
    partial: Partial,
    /// Work that is left.
    left: u64,
}

impl Follower {
    /// Follows a text that is still empty. The tokens that the grammar names were resolved.
    ///
    /// # Errors
    ///
    /// [`Exhausted`] if there are too many ways to begin.
    pub fn new(grammar: Grammar) -> Result<Self, Exhausted> {
        let mut follower = Self {
            grammar,
            places: Vec::new(),
            place_ids: HashMap::new(),
            leads: HashMap::new(),
            led: Vec::new(),
            states: Vec::new(),
            state_ids: HashMap::new(),
            steps: HashMap::new(),
            held: 0,
            kept: 0,
            now: NOWHERE,
            partial: Partial::default(),
            left: MOST_WORK,
        };
        follower.state(Vec::new());
        let starts = follower.grammar.rules[follower.grammar.root as usize].clone();
        let mut first = Vec::new();
        for start in starts {
            let place = follower.place(start, END);
            follower.lead(place, &mut first)?;
        }
        follower.now = follower.state(first);
        Ok(follower)
    }

    /// Whether the text may end here.
    #[must_use]
    pub fn may_end(&self) -> bool {
        self.partial.is_empty() && self.states[self.now as usize].first() == Some(&END)
    }

    /// Whether a token with these bytes may follow.
    ///
    /// # Errors
    ///
    /// [`Exhausted`] if that takes too long to find out.
    pub fn allows(&mut self, token: Token, bytes: &[u8]) -> Result<bool, Exhausted> {
        Ok(self.after_token(token)?.is_some() || self.after_bytes(bytes)?.is_some())
    }

    /// The text goes on with a token; false, and nothing, if it may not follow.
    ///
    /// # Errors
    ///
    /// [`Exhausted`] if that takes too long.
    pub fn accept(&mut self, token: Token, bytes: &[u8]) -> Result<bool, Exhausted> {
        self.left = self.left.saturating_add(WORK_PER_TOKEN).min(MOST_WORK);
        let (state, partial) = match (self.after_token(token)?, self.after_bytes(bytes)?) {
            (None, None) => return Ok(false),
            // A token that is read both as a whole and as its characters.
            (Some(state), Some((other, partial))) if partial.is_empty() => {
                let both = [state, other].map(|state| self.states[state as usize].to_vec()).concat();
                (self.state(both), partial)
            }
            (Some(state), _) => (state, Partial::default()),
            (None, Some(after)) => after,
        };
        (self.now, self.partial) = (state, partial);
        // What cannot be forgotten counts twice, so that it is not copied again and again.
        if self.remembered() > MOST_REMEMBERED + 2 * self.kept {
            self.forget();
            self.kept = self.remembered();
        }
        Ok(true)
    }

    /// Where whole tokens lead that the grammar names.
    fn after_token(&mut self, token: Token) -> Result<Option<StateId>, Exhausted> {
        if self.grammar.tokens.is_empty() || !self.partial.is_empty() {
            return Ok(None);
        }
        let mut after = Vec::new();
        for place in self.states[self.now as usize].clone() {
            let Some(Element::Token(index)) = self.element(place) else { continue };
            let TokenElement { name, inverted } = &self.grammar.tokens[index as usize];
            if (*name == TokenName::Id(token)) != *inverted {
                self.pass(place, &mut after)?;
            }
        }
        Ok((!after.is_empty()).then(|| self.state(after)))
    }

    /// Where bytes lead, and what they leave of a character.
    fn after_bytes(&mut self, bytes: &[u8]) -> Result<Option<(StateId, Partial)>, Exhausted> {
        let (mut state, mut partial) = (self.now, self.partial);
        if matches!(bytes.first(), None | Some(0)) {
            return Ok(None);
        }
        for byte in bytes {
            match partial.take(*byte) {
                Taken::Invalid => return Ok(None),
                Taken::Part => {}
                Taken::Character(character) => state = self.step(state, character)?,
            }
            if state == NOWHERE {
                return Ok(None);
            }
        }
        if partial.is_empty() {
            return Ok(Some((state, partial)));
        }
        let Some((low, high)) = partial.range() else { return Ok(None) };
        let possible = self.states[state as usize].iter().any(|place| match self.element(*place) {
            Some(Element::Char(character)) => (low..=high).contains(&character),
            Some(Element::Any) => true,
            Some(Element::Set(set)) => self.grammar.sets[set as usize].meets(low, high),
            _ => false,
        });
        Ok(possible.then_some((state, partial)))
    }

    /// Where a character leads.
    fn step(&mut self, state: StateId, character: u32) -> Result<StateId, Exhausted> {
        if let Some(known) = self.steps.get(&(state, character)) {
            return Ok(*known);
        }
        let mut after = Vec::new();
        let places = self.states[state as usize].clone();
        self.spend(places.len() as u64 / COMPARED + 1)?;
        for place in places {
            let matches = match self.element(place) {
                Some(Element::Char(expected)) => expected == character,
                Some(Element::Any) => true,
                Some(Element::Set(set)) => self.grammar.sets[set as usize].has(character),
                _ => false,
            };
            if matches {
                self.pass(place, &mut after)?;
            }
        }
        let next = self.state(after);
        self.steps.insert((state, character), next);
        Ok(next)
    }

    /// Adds where it goes on after the element of a place.
    fn pass(&mut self, place: PlaceId, after: &mut Vec<PlaceId>) -> Result<(), Exhausted> {
        let Place { at, then } = self.places[place as usize - 1];
        let next = self.place(at + 1, then);
        self.lead(next, after)
    }

    /// Adds the places with a character or a token, and perhaps the end, that a place leads to without either.
    fn lead(&mut self, place: PlaceId, found: &mut Vec<PlaceId>) -> Result<(), Exhausted> {
        if let Some((start, end)) = self.leads.get(&place).copied() {
            self.spend(u64::from(end - start) + 1)?;
            found.extend_from_slice(&self.led[start as usize..end as usize]);
            return Ok(());
        }
        let start = number(self.led.len());
        let (mut seen, mut open) = (HashSet::new(), vec![place]);
        while let Some(place) = open.pop() {
            self.spend(LOOKED_UP)?;
            if !seen.insert(place) {
                continue;
            }
            let Some(Element::Rule(rule)) = self.element(place) else {
                self.led.push(place);
                continue;
            };
            let Place { at, then } = self.places[place as usize - 1];
            let then = self.place(at + 1, then);
            for alternative in 0..self.grammar.rules[rule as usize].len() {
                let first = self.grammar.rules[rule as usize][alternative];
                open.push(self.place(first, then));
            }
            self.spend(self.grammar.rules[rule as usize].len() as u64 * LOOKED_UP)?;
        }
        let end = number(self.led.len());
        self.leads.insert(place, (start, end));
        found.extend_from_slice(&self.led[start as usize..]);
        Ok(())
    }

    /// The element of a place; `None` at the end of the text.
    fn element(&self, place: PlaceId) -> Option<Element> {
        let place = self.places.get((place as usize).checked_sub(1)?)?;
        Some(self.grammar.elements[place.at as usize])
    }

    /// The place of an element; of the end of an alternative, where it goes on.
    fn place(&mut self, at: u32, then: PlaceId) -> PlaceId {
        if self.grammar.elements[at as usize] == Element::End {
            return then;
        }
        let place = Place { at, then };
        *self.place_ids.entry(place).or_insert_with(|| {
            self.places.push(place);
            number(self.places.len())
        })
    }

    /// The state of these places.
    fn state(&mut self, mut places: Vec<PlaceId>) -> StateId {
        places.sort_unstable();
        places.dedup();
        let places = places.into_boxed_slice();
        if let Some(known) = self.state_ids.get(&places) {
            return *known;
        }
        self.held += places.len();
        self.states.push(places.clone());
        let id = number(self.states.len() - 1);
        self.state_ids.insert(places, id);
        id
    }

    fn spend(&mut self, work: u64) -> Result<(), Exhausted> {
        self.left = self.left.checked_sub(work).ok_or(Exhausted)?;
        Ok(())
    }

    fn remembered(&self) -> usize {
        self.places.len() + self.led.len() + self.steps.len() + self.held
    }

    /// Forgets all but the present state.
    fn forget(&mut self) {
        let places = std::mem::take(&mut self.places);
        let now = std::mem::take(&mut self.states[self.now as usize]);
        self.place_ids.clear();
        self.leads.clear();
        self.led.clear();
        self.states.clear();
        self.state_ids.clear();
        self.steps.clear();
        self.held = 0;
        let mut moved: HashMap<PlaceId, PlaceId> = HashMap::from([(END, END)]);
        let now = now.iter().map(|place| {
            // From the place down to one that was moved already, and back.
            let mut below = vec![*place];
            while let Some(last) = below.last().filter(|last| !moved.contains_key(last)) {
                below.push(places[*last as usize - 1].then);
            }
            for place in below.iter().rev().filter(|place| **place != END) {
                let Place { at, then } = places[*place as usize - 1];
                let id = self.place(at, moved[&then]);
                moved.insert(*place, id);
            }
            moved[place]
        });
        let now: Vec<PlaceId> = now.collect();
        self.state(Vec::new());
        self.now = self.state(now);
    }
}

/// Bounded by the work that a token may take and [`MOST_REMEMBERED`].
fn number(count: usize) -> u32 {
    u32::try_from(count).expect("what is remembered is bounded")
}
