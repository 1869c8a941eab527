//! The configuration tree: YAML values that remember what was written and where.
//! Owns the meaning of plain scalars; parsing is `yaml`'s, writing `emit`'s, checking `schema`'s.

use crate::problem::Position;
use indexmap::IndexMap;
use serde_json::Value;

/// A value with the place it was written at.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Node {
    /// The value.
    pub data: Data,
    /// Where it begins.
    pub position: Position,
}

/// What a [`Node`] holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// A scalar as written. `quoted` scalars are always text.
    Scalar {
        /// The text after YAML's unescaping.
        text: String,
        /// True for quoted and block scalars.
        quoted: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A map in the order of the file.
    Map(Map),
}

/// A map in the order of the file.
pub type Map = IndexMap<String, Entry>;

/// A value of a map, with the place of its key.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Where the key stands.
    pub key: Position,
    /// The value.
    pub node: Node,
}

impl Default for Data {
    fn default() -> Self {
        Self::Map(Map::new())
    }
}

/// What a plain scalar means under YAML 1.2's core schema.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Meaning {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A decimal integer.
    Integer(i64),
    /// A number with a fraction or exponent, or too large for [`Meaning::Integer`].
    Float,
    /// Anything else.
    Text,
}

/// The meaning of a plain scalar. Octal and hexadecimal numbers are text: nothing in the format is written so, and
/// file modes (`0644`) must stay as they are.
#[must_use]
pub fn meaning(text: &str) -> Meaning {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Meaning::Null,
        "true" | "True" | "TRUE" => return Meaning::Bool(true),
        "false" | "False" | "FALSE" => return Meaning::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        || !digits.contains(|c: char| c.is_ascii_digit())
    {
        return Meaning::Text;
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        if digits.len() > 1 && digits.starts_with('0') {
            return Meaning::Text;
        }
        return text.parse().map_or(Meaning::Float, Meaning::Integer);
    }
    let number = digits
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    if number && text.parse::<f64>().is_ok() {
        Meaning::Float
    } else {
        Meaning::Text
    }
}

impl Node {
    /// A node with no place: made by the program.
    #[must_use]
    pub fn made(data: Data) -> Self {
        Self {
            data,
            position: Position::default(),
        }
    }

    /// A text node with no place.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::made(Data::Scalar {
            text: text.into(),
            quoted: true,
        })
    }

    /// The node of a JSON value, with no places.
    #[must_use]
    pub fn from_value(value: &Value) -> Self {
        let entry = |item| Entry {
            key: Position::default(),
            node: Self::from_value(item),
        };
        match value {
            Value::String(text) => Self::text(text.clone()),
            Value::Array(items) => {
                Self::made(Data::List(items.iter().map(Self::from_value).collect()))
            }
            Value::Object(map) => {
                let entries = map.iter().map(|(name, item)| (name.clone(), entry(item)));
                Self::made(Data::Map(entries.collect()))
            }
            other => Self::made(Data::Scalar {
                text: other.to_string(),
                quoted: false,
            }),
        }
    }

    /// The map, if it is one.
    #[must_use]
    pub fn as_map(&self) -> Option<&Map> {
        if let Data::Map(map) = &self.data {
            Some(map)
        } else {
            None
        }
    }

    /// True for `key:` without a value, `~` and `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(&self.data, Data::Scalar { text, quoted: false } if meaning(text) == Meaning::Null)
    }

    /// The value's type in JSON schema's words.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match &self.data {
            Data::List(_) => "array",
            Data::Map(_) => "object",
            Data::Scalar { quoted: true, .. } => "string",
            Data::Scalar { text, .. } => match meaning(text) {
                Meaning::Null => "null",
                Meaning::Bool(_) => "boolean",
                Meaning::Integer(_) => "integer",
                Meaning::Float => "number",
                Meaning::Text => "string",
            },
        }
    }

    /// The value without places. A plain number becomes a JSON number only when its canonical text is the text that
    /// was written, so that `1.10` and `0644` stay what they are.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match &self.data {
            Data::Scalar { text, quoted: true } => Value::String(text.clone()),
            Data::Scalar {
                text,
                quoted: false,
            } => plain_value(text),
            Data::List(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Data::Map(map) => Value::Object(
                map.iter()
                    .map(|(key, entry)| (key.clone(), entry.node.to_value()))
                    .collect(),
            ),
        }
    }
}

fn plain_value(text: &str) -> Value {
    match meaning(text) {
        Meaning::Null => Value::Null,
        Meaning::Bool(value) => Value::Bool(value),
        Meaning::Integer(_) | Meaning::Float => {
            match serde_json::from_str::<serde_json::Number>(text) {
                Ok(number) if number.to_string() == text => Value::Number(number),
                _ => Value::String(text.to_owned()),
            }
        }
        Meaning::Text => Value::String(text.to_owned()),
    }
}
