//! What a path leads to: a value, a folder of values, or a list of objects that are made only when they are looked at. Pure.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::objects::Objects;

/// A place in the tree.
#[derive(Debug, Clone)]
pub enum Node<'a> {
    /// Nothing is known, or there is none.
    Null,
    /// A text.
    Text(Cow<'a, str>),
    /// A number.
    Number(u64),
    /// Yes or no.
    Flag(bool),
    /// Values by index.
    List(Vec<Node<'a>>),
    /// Values by key, sorted by it.
    Map(Vec<(Cow<'a, str>, Node<'a>)>),
    /// Objects by index, name or uuid.
    Objects(Objects<'a>),
}

impl<'a> Node<'a> {
    /// A text.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text(text.into())
    }

    /// A text, or nothing when it is empty.
    pub fn text_or_null(text: &'a str) -> Self {
        if text.is_empty() {
            Self::Null
        } else {
            Self::text(text)
        }
    }

    /// A text, or nothing.
    pub fn maybe(text: Option<impl Into<Cow<'a, str>>>) -> Self {
        text.map_or(Self::Null, Self::text)
    }

    /// A folder of named values.
    pub fn map(values: impl IntoIterator<Item = (&'static str, Node<'a>)>) -> Self {
        let mut values: Vec<_> = values
            .into_iter()
            .map(|(key, value)| (Cow::Borrowed(key), value))
            .collect();
        values.sort_by(|(one, _), (other, _)| one.cmp(other));
        Self::Map(values)
    }

    /// A folder of texts.
    pub fn texts(texts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut texts: Vec<_> = texts
            .into_iter()
            .map(|(key, value)| (Cow::Borrowed(key), Self::text(value)))
            .collect();
        texts.sort_by(|(one, _), (other, _)| one.cmp(other));
        Self::Map(texts)
    }

    /// Whether something may follow in a path.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        matches!(self, Self::List(_) | Self::Map(_) | Self::Objects(_))
    }

    /// What is below it by a key, or by an index in lists.
    #[must_use]
    pub fn below(self, key: &str) -> Option<Self> {
        match self {
            Self::Map(mut values) => {
                let place = values.binary_search_by(|(known, _)| known.as_ref().cmp(key));
                Some(values.swap_remove(place.ok()?).1)
            }
            Self::List(mut values) => {
                let place = key.parse().ok().filter(|place| *place < values.len())?;
                Some(values.swap_remove(place))
            }
            Self::Objects(objects) => objects.find(key),
            Self::Null | Self::Text(_) | Self::Number(_) | Self::Flag(_) => None,
        }
    }

    /// What a whole path leads to.
    #[must_use]
    pub fn at(self, path: &[impl AsRef<str>]) -> Option<Self> {
        path.iter()
            .try_fold(self, |node, key| node.below(key.as_ref()))
    }
}

impl Serialize for Node<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => to.serialize_unit(),
            Self::Text(text) => to.serialize_str(text),
            Self::Number(number) => to.serialize_u64(*number),
            Self::Flag(flag) => to.serialize_bool(*flag),
            Self::List(values) => to.collect_seq(values),
            Self::Map(values) => {
                let mut map = to.serialize_map(Some(values.len()))?;
                for (key, value) in values {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
            Self::Objects(objects) => {
                let mut list = to.serialize_seq(Some(objects.len()))?;
                for object in objects.iter() {
                    list.serialize_element(&object)?;
                }
                list.end()
            }
        }
    }
}
