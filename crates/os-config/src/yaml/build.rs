//! Parser events to nodes, on an explicit stack. Owns the limits' enforcement, anchors, merge keys and duplicate keys.

use super::{MAX_DEPTH, MAX_NODES, MAX_TEXT, Parsed, small};
use crate::node::{Data, Entry, Map, Node};
use crate::problem::{Position, Problem, Severity};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, StrInput, Tag};
use std::collections::HashMap;
use std::sync::Arc;

/// Why an input is unusable.
pub(super) enum Stop {
    Scan(ScanError),
    Limit(Problem),
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Self {
        Self::Scan(error)
    }
}

/// What a node costs, everything below it included.
#[derive(Clone, Copy, Default)]
struct Cost {
    nodes: usize,
    text: usize,
    height: usize,
}

enum Expect {
    Key,
    Value {
        name: String,
        key: Position,
        plain: bool,
    },
    /// The key was not a scalar: its value is dropped.
    Nothing,
}

enum Holder {
    List(Vec<Node>),
    Map {
        map: Map,
        expect: Expect,
        merges: Vec<Node>,
    },
}

struct Frame {
    holder: Holder,
    position: Position,
    anchor: usize,
    cost: Cost,
}

pub(super) struct Builder {
    file: Arc<str>,
    stack: Vec<Frame>,
    anchors: HashMap<usize, (Node, Cost)>,
    /// Nodes and text made so far, copies behind anchors included.
    total: Cost,
    root: Option<Node>,
    problems: Vec<Problem>,
}

impl Builder {
    pub(super) fn new(file: Arc<str>) -> Self {
        Self {
            file,
            stack: Vec::new(),
            anchors: HashMap::new(),
            total: Cost::default(),
            root: None,
            problems: Vec::new(),
        }
    }

    pub(super) fn run(mut self, mut parser: Parser<'_, StrInput<'_>>) -> Result<Parsed, Stop> {
        while let Some(event) = parser.next_event() {
            let (event, span) = event?;
            let position = self.place(span.start);
            if matches!(event, Event::DocumentStart(_)) && self.root.is_some() {
                let what = "More than one YAML document: only the first is read";
                let problem = Problem::new(Severity::Warning, &position, "", what);
                self.problems
                    .push(problem.advise("put everything before the second `---`"));
                break;
            }
            self.event(event, position)?;
        }
        let null = Node {
            data: Data::Scalar {
                text: String::new(),
                quoted: false,
            },
            position: Position::new(&self.file, 1, 1),
        };
        Ok(Parsed {
            root: self.root.unwrap_or(null),
            problems: self.problems,
        })
    }

    fn place(&self, mark: Marker) -> Position {
        Position::new(&self.file, small(mark.line()), small(mark.col() + 1))
    }

    fn event(&mut self, event: Event<'_>, position: Position) -> Result<(), Stop> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let quoted =
                    style != ScalarStyle::Plain || tag.as_deref().is_some_and(is_string_tag);
                let cost = Cost {
                    nodes: 1,
                    text: text.len(),
                    height: 1,
                };
                let node = Node {
                    data: Data::Scalar {
                        text: text.into_owned(),
                        quoted,
                    },
                    position,
                };
                self.finished(node, anchor, cost, cost)
            }
            Event::SequenceStart(anchor, _) => {
                self.open(Holder::List(Vec::new()), anchor, position)
            }
            Event::MappingStart(anchor, _) => {
                let holder = Holder::Map {
                    map: Map::new(),
                    expect: Expect::Key,
                    merges: Vec::new(),
                };
                self.open(holder, anchor, position)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => self.alias(anchor, &position),
            _ => Ok(()),
        }
    }

    fn open(&mut self, holder: Holder, anchor: usize, position: Position) -> Result<(), Stop> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(self.too_deep(&position));
        }
        let cost = Cost {
            nodes: 1,
            text: 0,
            height: 1,
        };
        self.stack.push(Frame {
            holder,
            position,
            anchor,
            cost,
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Stop> {
        let Some(frame) = self.stack.pop() else {
            return Ok(());
        };
        let data = match frame.holder {
            Holder::List(items) => Data::List(items),
            Holder::Map {
                mut map, merges, ..
            } => {
                self.apply_merges(&mut map, merges);
                Data::Map(map)
            }
        };
        // The children were counted as they came.
        let new = Cost {
            nodes: 1,
            text: 0,
            height: 0,
        };
        self.finished(
            Node {
                data,
                position: frame.position,
            },
            frame.anchor,
            frame.cost,
            new,
        )
    }

    fn alias(&mut self, anchor: usize, position: &Position) -> Result<(), Stop> {
        let Some((node, cost)) = self.anchors.get(&anchor) else {
            let what = "This alias refers to the value that contains it";
            let problem = Problem::new(Severity::Error, position, &self.path(), what);
            return Err(Stop::Limit(problem.advise("write the value out")));
        };
        let cost = *cost;
        if self.stack.len() + cost.height > MAX_DEPTH {
            return Err(self.too_deep(position));
        }
        self.affordable(cost, position)?;
        let node = node.clone();
        self.place_node(node, cost, cost)
    }

    fn too_deep(&self, position: &Position) -> Stop {
        let what = format!("Nested too deeply: the limit is {MAX_DEPTH} levels");
        Stop::Limit(Problem::new(Severity::Error, position, "", what))
    }

    /// Refuses before a copy is made, so that a bomb of aliases costs nothing.
    fn affordable(&self, cost: Cost, position: &Position) -> Result<(), Stop> {
        let nodes = self.total.nodes.saturating_add(cost.nodes);
        let text = self.total.text.saturating_add(cost.text);
        if nodes <= MAX_NODES && text <= MAX_TEXT {
            return Ok(());
        }
        let what = format!(
            "Too many values: the limit is {MAX_NODES}, aliases counted with all they stand for"
        );
        Err(Stop::Limit(Problem::new(
            Severity::Error,
            position,
            "",
            what,
        )))
    }

    /// Takes a node of `cost` in all, of which `new` has not been counted yet.
    fn finished(&mut self, node: Node, anchor: usize, cost: Cost, new: Cost) -> Result<(), Stop> {
        if anchor != 0 {
            self.affordable(cost, &node.position)?;
            self.total.nodes += cost.nodes;
            self.total.text += cost.text;
            self.anchors.insert(anchor, (node.clone(), cost));
        }
        self.place_node(node, cost, new)
    }

    /// Puts a finished node where the innermost open collection expects it.
    fn place_node(&mut self, node: Node, cost: Cost, new: Cost) -> Result<(), Stop> {
        self.affordable(new, &node.position)?;
        self.total.nodes += new.nodes;
        self.total.text += new.text;
        let path = self.path();
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        frame.cost.nodes += cost.nodes;
        frame.cost.text += cost.text;
        frame.cost.height = frame.cost.height.max(cost.height + 1);
        match &mut frame.holder {
            Holder::List(items) => items.push(node),
            Holder::Map {
                map,
                expect,
                merges,
            } => match std::mem::replace(expect, Expect::Key) {
                Expect::Key => *expect = key_of(node, &path, &mut self.problems),
                Expect::Value {
                    name, plain: true, ..
                } if name == "<<" => merges.push(node),
                Expect::Value { name, key, .. } => {
                    insert(map, name, Entry { key, node }, &mut self.problems, &path)
                }
                Expect::Nothing => {}
            },
        }
        Ok(())
    }

    fn apply_merges(&mut self, map: &mut Map, merges: Vec<Node>) {
        for merge in merges {
            let sources = match merge.data {
                Data::List(items) => items,
                _ => vec![merge],
            };
            for source in sources {
                if let Data::Map(entries) = source.data {
                    for (name, entry) in entries {
                        map.entry(name).or_insert(entry);
                    }
                } else {
                    let what = "`<<` needs a map, usually an alias such as `*name`";
                    self.problems
                        .push(Problem::new(Severity::Error, &source.position, "", what));
                }
            }
        }
    }

    /// Dotted path of the value that is being read.
    fn path(&self) -> String {
        let mut path = String::new();
        for frame in &self.stack {
            let part = match &frame.holder {
                Holder::List(items) => items.len().to_string(),
                Holder::Map {
                    expect: Expect::Value { name, .. },
                    ..
                } => name.clone(),
                Holder::Map { .. } => continue,
            };
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&part);
        }
        path
    }
}

fn is_string_tag(tag: &Tag) -> bool {
    tag.suffix == "str" && (tag.is_yaml_core_schema() || tag.handle == "!!")
}

fn key_of(node: Node, path: &str, problems: &mut Vec<Problem>) -> Expect {
    match node.data {
        Data::Scalar { text, quoted } => Expect::Value {
            name: text,
            key: node.position,
            plain: !quoted,
        },
        Data::List(_) | Data::Map(_) => {
            let what = "A list or map cannot be a key";
            let problem = Problem::new(Severity::Error, &node.position, path, what);
            problems
                .push(problem.advise("put the value in quotes if it begins with `{`, `[` or `?`"));
            Expect::Nothing
        }
    }
}

fn insert(map: &mut Map, name: String, entry: Entry, problems: &mut Vec<Problem>, path: &str) {
    if let Some(first) = map.get(&name) {
        let what = format!(
            "Key {name} is given twice, first on line {}",
            first.key.line
        );
        let problem = Problem::new(Severity::Error, &entry.key, path, what);
        problems.push(problem.advise("the last one is used; put both under one key"));
    }
    map.insert(name, entry);
}
