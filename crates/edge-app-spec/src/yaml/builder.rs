//! Construction of a [`Node`] from the events of the YAML parser: aliases, merge keys,
//! repeated keys, and limits.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::tree::{Key, Node, Place, Problem, Value};
use super::with_advice;

/// Size limit of a YAML text in bytes; a run specification has the same.
const MAX_TEXT_BYTES: usize = 64 * 1024;
/// Limit of nested lists and mappings.
const MAX_DEPTH: usize = 16;
/// Limit of values after the replacement of aliases: a few lines of nested aliases stand
/// for billions of values.
const MAX_NODES: usize = 20_000;
/// Limit of the texts in all values together, after the replacement of aliases.
const MAX_EXPANDED_BYTES: usize = 1024 * 1024;

/// Parses a YAML text of one document.
///
/// # Errors
/// The text is not YAML, has several documents, or exceeds a limit.
pub(crate) fn parse_tree(text: &str) -> Result<Node, Problem> {
    let start = Place { line: 1, column: 1 };
    if text.len() > MAX_TEXT_BYTES {
        return Err(Problem::new(
            start,
            format_args!(
                "the file has {} bytes, the limit is {MAX_TEXT_BYTES}",
                text.len()
            ),
        ));
    }
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| scan_problem(&error))?;
        builder.take(&event, &span)?;
    }
    builder
        .root
        .ok_or_else(|| Problem::new(start, "unexpected end of file: `name: NAME` suffices"))
}

fn scan_problem(error: &ScanError) -> Problem {
    let marker = error.marker();
    let place = Place {
        line: marker.line().max(1),
        column: marker.col() + 1,
    };
    Problem::new(place, with_advice(&error.kind().to_string()))
}

/// Unfinished list or mapping.
struct Open {
    place: Place,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    /// Entries, and the key whose value comes next.
    Map(Vec<(Key, Node)>, Option<Key>),
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    bytes: usize,
}

impl Builder {
    fn take(&mut self, event: &Event<'_>, span: &Span) -> Result<(), Problem> {
        let place = Place {
            line: span.start.line(),
            column: span.start.col() + 1,
        };
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let typed = is_text_tag(place, tag.as_deref(), "str")?;
                let plain = *style == ScalarStyle::Plain && !typed;
                self.count(place, (1, text.len()))?;
                let null = plain && matches!(&**text, "" | "~" | "null" | "Null" | "NULL");
                let value = if null {
                    Value::Null
                } else {
                    Value::Text(text.to_string())
                };
                self.add(Node { place, value }, *anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                is_text_tag(place, tag.as_deref(), "seq")?;
                self.begin(place, *anchor, Content::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                is_text_tag(place, tag.as_deref(), "map")?;
                self.begin(place, *anchor, Content::Map(Vec::new(), None))
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => {
                let node = self.anchors.get(anchor).cloned();
                // An anchor is complete at its end only, so that it cannot contain itself.
                let node = node.ok_or_else(|| {
                    Problem::new(place, "the alias stands inside of its own anchor")
                })?;
                self.count(place, size(&node))?;
                // Errors stand where the value is used, not where it is defined.
                self.add(Node { place, ..node }, 0)
            }
            // Comments, and the marks of streams and documents.
            _ => Ok(()),
        }
    }

    fn begin(&mut self, place: Place, anchor: usize, content: Content) -> Result<(), Problem> {
        if self.open.len() >= MAX_DEPTH {
            let text = format!("more than {MAX_DEPTH} lists and mappings in each other");
            return Err(Problem::new(place, text));
        }
        self.count(place, (1, 0))?;
        self.open.push(Open {
            place,
            anchor,
            content,
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Problem> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let value = match open.content {
            Content::List(nodes) => Value::List(nodes),
            Content::Map(entries, _) => Value::Map(merged(entries)?),
        };
        let place = open.place;
        self.add(Node { place, value }, open.anchor)
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let place = node.place;
        match self.open.last_mut().map(|open| &mut open.content) {
            None if self.root.is_some() => {
                return Err(Problem::new(place, "only one YAML document is expected"));
            }
            None => self.root = Some(node),
            Some(Content::List(nodes)) => nodes.push(node),
            Some(Content::Map(entries, key)) => match key.take() {
                Some(key) => entries.push((key, node)),
                None => *key = Some(as_key(node)?),
            },
        }
        Ok(())
    }

    /// Counts values and their bytes against the limits.
    fn count(&mut self, place: Place, (nodes, bytes): (usize, usize)) -> Result<(), Problem> {
        self.nodes += nodes;
        self.bytes += bytes;
        if self.nodes > MAX_NODES || self.bytes > MAX_EXPANDED_BYTES {
            let text = "too many values; aliases count as often as they are used";
            return Err(Problem::new(place, text));
        }
        Ok(())
    }
}

fn size(node: &Node) -> (usize, usize) {
    let sum = |sizes: &mut dyn Iterator<Item = (usize, usize)>| {
        sizes.fold((1, 0), |(n, b), (m, c)| (n + m, b + c))
    };
    match &node.value {
        Value::Null => (1, 0),
        Value::Text(text) => (1, text.len()),
        Value::List(nodes) => sum(&mut nodes.iter().map(size)),
        Value::Map(entries) => sum(&mut entries.iter().map(|(key, node)| {
            let (nodes, bytes) = size(node);
            (nodes + 1, bytes + key.text.len())
        })),
    }
}

fn as_key(node: Node) -> Result<Key, Problem> {
    match node.value {
        Value::Text(text) => Ok(Key {
            place: node.place,
            text,
        }),
        _ => Err(node.unexpected("a key of plain text")),
    }
}

/// Checks the tag of a value. Returns whether it is the core tag `expected` or the
/// non-specific `!`, both of which make a scalar a text.
fn is_text_tag(place: Place, tag: Option<&Tag>, expected: &str) -> Result<bool, Problem> {
    match tag {
        None => Ok(false),
        Some(tag) if tag.is_yaml_core_schema_tag(expected) => Ok(true),
        Some(tag) if tag.parts() == ("", "!") || tag.parts() == ("!", "") => Ok(true),
        Some(tag) => {
            let (handle, suffix) = tag.parts();
            let text = format!("the tag {handle}{suffix} is not supported: write the value itself");
            Err(Problem::new(place, text))
        }
    }
}

/// Replaces the key `<<` by the entries of the mapping, or list of mappings, that it
/// names; entries that are written out have precedence. Refuses repeated keys.
fn merged(entries: Vec<(Key, Node)>) -> Result<Vec<(Key, Node)>, Problem> {
    let (merges, mut all): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|(key, _)| key.text == "<<");
    let mut lines = HashMap::new();
    for (key, _) in &all {
        // YAML permits a key once. With the last value alone, a line that somebody reads
        // and believes would have no effect.
        if let Some(line) = lines.insert(key.text.as_str(), key.place.line) {
            let text = format!("{:?} stands on line {line} already: keep one", key.text);
            return Err(Problem::new(key.place, text));
        }
    }
    for (_, node) in merges {
        let sources = match node.value {
            Value::List(nodes) => nodes,
            value => vec![Node { value, ..node }],
        };
        for source in sources {
            let Value::Map(entries) = source.value else {
                return Err(source.unexpected("a mapping for `<<`"));
            };
            for (key, node) in entries {
                if !all.iter().any(|(k, _)| k.text == key.text) {
                    all.push((key, node));
                }
            }
        }
    }
    Ok(all)
}
