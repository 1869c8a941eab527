//! What the keys of the cloud-config may hold, and the check of a tree against it.
//! Owns the texts of findings; the keys themselves are data in `keys`.

mod account_formats;
mod accounts;
mod check;
mod formats;
mod keys;
mod links;
mod suggest;
mod view;

pub(crate) use formats::is_host_name;
pub(crate) use suggest::for_key as advice_for_unknown;

pub use check::{check, check_text, unknown};
pub use formats::Format;
pub use keys::ROOT;
pub use view::{drop_empty, redact, to_value};

/// The type of a value.
#[derive(Debug)]
pub enum Schema {
    /// Anything.
    Any,
    /// A map of anything: services in Compose syntax.
    AnyMap,
    /// Text; any scalar is taken as it was written.
    Text,
    /// Text that `export` shows only on demand.
    Secret,
    /// Text of a certain form.
    Formatted(&'static Format),
    /// The same, which no message shows.
    Hidden(&'static Format),
    /// true or false, also in YAML 1.1's words.
    Bool,
    /// A whole number from the first to the second.
    Integer(i64, i64),
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A list.
    List(&'static Schema),
    /// A list; one value stands for a list of it.
    OneOrMore(&'static Schema),
    /// A list; one text is split at its commas.
    Words(&'static Schema),
    /// A list; one value stands for a list of it, false and null for an empty one.
    Rules(&'static Schema),
    /// A list of exactly these texts, named for the message.
    Tuple(&'static [&'static str]),
    /// A line for the shell, or a list of words.
    Command,
    /// A map with free keys.
    Map(&'static Schema),
    /// A map with these keys only.
    Object(&'static [Key]),
    /// true or false, or a map with these keys only.
    Switch(&'static [Key]),
    /// A map with these keys only; a text stands for a map with that `name`.
    Named(&'static [Key]),
}

/// A key of an object.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub schema: Schema,
    /// How it is treated.
    pub kind: Kind,
}

/// How a key is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As any.
    Plain,
    /// Its map is of no use without it.
    Required,
    /// Not exported without `--private`.
    Private,
    /// Accepted for old files; the text says what to use.
    Ignored(&'static str),
    /// Accepted, but nothing reads it in this release.
    Planned,
    /// Its entries are accounts, which are looked at together too.
    Accounts,
}

impl Schema {
    /// True when values are scalars.
    #[must_use]
    pub fn is_scalar(&self) -> bool {
        use Schema::{Bool, Formatted, Hidden, Integer, OneOf, Secret, Text};
        matches!(
            self,
            Text | Secret | Formatted(_) | Hidden(_) | Bool | Integer(..) | OneOf(_)
        )
    }

    /// The type's name in JSON schema.
    fn name(&self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::AnyMap | Self::Map(_) | Self::Object(_) | Self::Switch(_) | Self::Named(_) => {
                "object"
            }
            Self::Text
            | Self::Secret
            | Self::Formatted(_)
            | Self::Hidden(_)
            | Self::OneOf(_)
            | Self::Command => "string",
            Self::Bool => "boolean",
            Self::Integer(..) => "integer",
            Self::List(_)
            | Self::OneOrMore(_)
            | Self::Words(_)
            | Self::Rules(_)
            | Self::Tuple(_) => "array",
        }
    }

    /// The keys that its map may have, when there are no others.
    pub(crate) fn keys(&self) -> Option<&'static [Key]> {
        match self {
            Self::Object(keys) | Self::Switch(keys) | Self::Named(keys) => Some(keys),
            _ => None,
        }
    }
}

/// How `key` is treated in a map of type `schema`; free keys are plain.
#[must_use]
pub fn kind(schema: &'static Schema, key: &str) -> Kind {
    let mut keys = schema.keys().into_iter().flatten();
    keys.find(|known| known.name == key)
        .map_or(Kind::Plain, |known| known.kind)
}

/// The schema of `key` in a map of type `schema`.
#[must_use]
pub fn child(schema: &'static Schema, key: &str) -> Option<&'static Schema> {
    match schema {
        Schema::Any | Schema::AnyMap => Some(&Schema::Any),
        Schema::Map(item) => Some(item),
        _ => schema
            .keys()?
            .iter()
            .find(|known| known.name == key)
            .map(|known| &known.schema),
    }
}
