//! Finds the line and column of each node of a YAML text.
//!
//! Also notes what `serde_yaml` would pass over in silence or refuse without naming the place: a key
//! twice, anchors, tags, a second document. Pure. A syntax error is noted by `raw`, which words it better;
//! one that only this parser sees is noted by `Policy::parse`, because a key twice could hide behind it.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser};

use super::error::Faults;
use super::path::{Position, Step, YamlPath};

/// Deepest nesting that is followed. Parsers take quadratic time where flow style nests without end.
const MAX_DEPTH: usize = 32;

impl From<Marker> for Position {
    fn from(marker: Marker) -> Self {
        Self { line: marker.line().max(1), column: marker.col() + 1 }
    }
}

/// The positions of a document's nodes; a value of a mapping counts as being where its key is.
#[derive(Debug, Default)]
pub(super) struct Spans {
    /// The root is the first; each node knows where its children are in this list.
    nodes: Vec<Node>,
    /// Whether reading the text as values could take far more time or memory than its length: it nests
    /// without end, or has aliases, each of which may stand for many others.
    pub grows: bool,
    /// Where and why following the text ended before its end.
    pub syntax_error: Option<(Position, String)>,
}

#[derive(Debug)]
struct Node {
    position: Position,
    children: HashMap<Step, usize>,
}

impl Spans {
    /// Follows `text` to its end, or to its first syntax error, and notes structural faults.
    pub fn read(text: &str, faults: &mut Faults) -> Self {
        let mut reader = Reader { spans: Self::default(), open: Vec::new(), faults };
        let mut documents = 0;
        // `next_event` and not `load`, which recurses as deep as the text is nested.
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, span) = match event {
                Ok(event) => event,
                Err(error) => {
                    let position = (*error.marker()).into();
                    if error.info().contains("recursion limit") {
                        reader.refuse_depth(position);
                    }
                    reader.spans.syntax_error = Some((position, error.info().to_owned()));
                    break;
                }
            };
            let position = Position::from(span.start);
            documents += usize::from(matches!(event, Event::DocumentStart(_)));
            if documents > 1 {
                let message = "a policy is one YAML document; remove this `---` and what follows";
                reader.faults.add_at(YamlPath::default(), position, message);
                break;
            }
            reader.spans.grows |= matches!(event, Event::Alias(_));
            reader.on_event(&event, position);
            if reader.open.len() > MAX_DEPTH {
                reader.refuse_depth(position);
                break;
            }
        }
        reader.spans
    }

    /// Where the node at `path` is, or the nearest node above it that the text has.
    pub fn locate(&self, path: &YamlPath) -> Position {
        let mut position = Position { line: 1, column: 1 };
        let mut next = self.nodes.first();
        for step in path.steps() {
            let Some(node) = next else { return position };
            position = node.position;
            next = node.children.get(step).map(|child| &self.nodes[*child]);
        }
        next.map_or(position, |node| node.position)
    }

    /// Whether the text has a node at `path`.
    pub fn has(&self, path: &YamlPath) -> bool {
        let mut node = self.nodes.first();
        for step in path.steps() {
            node = node.and_then(|node| node.children.get(step)).map(|child| &self.nodes[*child]);
        }
        node.is_some()
    }
}

/// Builds [`Spans`] from the parser's events.
struct Reader<'f> {
    spans: Spans,
    /// The mappings and lists that enclose the next event, outermost first.
    open: Vec<Open>,
    faults: &'f mut Faults,
}

struct Open {
    node: usize,
    /// How it is reached from the enclosing one; none at the root.
    step: Option<Step>,
    next: Next,
}

/// What the next event of an open mapping or list is.
enum Next {
    Element(usize),
    Key,
    Value(Step, Position),
}

impl Reader<'_> {
    fn refuse_depth(&mut self, position: Position) {
        let message = format!("nested deeper than {MAX_DEPTH} levels; a policy needs 5");
        self.faults.add_at(YamlPath::default(), position, message);
        self.spans.grows = true;
    }

    fn on_event(&mut self, event: &Event<'_>, position: Position) {
        let (anchored, tagged) = match event {
            Event::Alias(_) => (true, false),
            Event::Scalar(_, _, anchor, tag) => (*anchor != 0, tag.is_some()),
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => {
                (*anchor != 0, tag.is_some())
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.open.pop();
                return;
            }
            _ => return,
        };
        let text = if let Event::Scalar(text, ..) = event { text } else { "?" };
        let (node, step) = self.enter(text, position);
        for (used, what) in [(anchored, "anchors and aliases"), (tagged, "tags")] {
            if used {
                let path = self.path(step.clone());
                self.faults.add_at(path, position, format!("{what} are not supported; write the value out"));
            }
        }
        match event {
            Event::SequenceStart(..) => self.open.push(Open { node, step, next: Next::Element(0) }),
            Event::MappingStart(..) => self.open.push(Open { node, step, next: Next::Key }),
            _ => {}
        }
    }

    /// Adds the node that begins at `position`; `text` is its text where it turns out to be a key.
    fn enter(&mut self, text: &str, position: Position) -> (usize, Option<Step>) {
        let node = self.spans.nodes.len();
        let Some(open) = self.open.last_mut() else {
            self.spans.nodes.push(Node { position, children: HashMap::new() });
            return (node, None);
        };
        let parent = open.node;
        let (step, position) = match std::mem::replace(&mut open.next, Next::Key) {
            Next::Element(index) => {
                open.next = Next::Element(index + 1);
                (Step::Index(index), position)
            }
            Next::Value(step, key_position) => (step, key_position),
            Next::Key => {
                let step = Step::Key(text.to_owned());
                open.next = Next::Value(step.clone(), position);
                self.check_unique(parent, &step, position);
                // A node of its own that nothing leads to; a key may itself hold nodes.
                self.spans.nodes.push(Node { position, children: HashMap::new() });
                return (node, Some(step));
            }
        };
        self.spans.nodes.push(Node { position, children: HashMap::new() });
        // The first of two equal keys counts, as it does in `raw`.
        self.spans.nodes[parent].children.entry(step.clone()).or_insert(node);
        (node, Some(step))
    }

    fn check_unique(&mut self, parent: usize, key: &Step, position: Position) {
        if let Some(first) = self.spans.nodes[parent].children.get(key) {
            let line = self.spans.nodes[*first].position.line;
            let path = self.path(Some(key.clone()));
            self.faults.add_at(
                path,
                position,
                format!("this key is already on line {line}; keep one of them"),
            );
        }
    }

    /// The path of the node that is `last` from the innermost open one.
    fn path(&self, last: Option<Step>) -> YamlPath {
        self.open.iter().map(|open| open.step.clone()).chain([last]).flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(text: &str) -> (Spans, Vec<String>) {
        let mut faults = Faults::default();
        let spans = Spans::read(text, &mut faults);
        let messages = faults.located(|path| spans.locate(path)).iter().map(ToString::to_string).collect();
        (spans, messages)
    }

    #[test]
    fn nodes_are_found_where_their_keys_are() {
        let (spans, faults) = spans("# comment\na: 1\nb:\n  - {c: 2,  d: 3}\n  - e:\n      f: 4\n");
        let root = YamlPath::default();
        let b = root.key("b");
        for (path, line, column) in [
            (root.key("a"), 2, 1),
            (b.clone(), 3, 1),
            (b.index(0), 4, 5),
            (b.index(0).key("d"), 4, 13),
            (b.index(1).key("e").key("f"), 6, 7),
            (b.index(1).key("e").key("absent"), 5, 5),
            (b.index(9).key("absent"), 3, 1),
        ] {
            assert_eq!(spans.locate(&path), Position { line, column }, "{path}");
        }
        assert_eq!(faults, [""; 0]);
    }

    #[test]
    fn structural_faults_are_named_where_they_stand() {
        for (text, expected) in [
            ("a: 1\nb: 2\na: 3\n", "3:1: a: this key is already on line 1; keep one of them"),
            ("a: {b: 1, b: 2}\n", "1:11: a.b: this key is already on line 1; keep one of them"),
            ("a: &x 1\n", "1:4: a: anchors and aliases are not supported; write the value out"),
            ("a: !x 1\n", "1:4: a: tags are not supported; write the value out"),
            ("a: 1\n---\nb: 1\n", "2:1: a policy is one YAML document; remove this `---` and what follows"),
        ] {
            assert_eq!(spans(text).1, [expected], "{text}");
        }
    }

    #[test]
    fn odd_texts_have_positions_too() {
        for text in ["", "\u{feff}a: 1", "? [a, {b: c}]\n: d", "a: [", "\t", "- - - -", "\0"] {
            assert_eq!(spans(text).0.locate(&YamlPath::default().key("z")).line, 1, "{text}");
        }
    }
}
