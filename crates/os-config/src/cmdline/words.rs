//! Words and values of a kernel command line. Owns quoting: a word may hold blanks inside quotes and inside `[…]`.
//! A quote or bracket that is never closed is an ordinary character: it must not swallow the words after it.

use crate::node::{Data, Node};
use crate::problem::Position;

/// Longest command line that is read; the kernel's own limit is 4096 at most.
const MAX_CHARS: usize = 16 << 10;
/// Nesting of lists.
const MAX_LISTS: usize = 8;

/// A word as written, quotes included (but for quotes around the whole word).
pub(super) struct Word {
    pub(super) text: String,
    /// From 1, in characters.
    pub(super) column: u32,
}

pub(super) fn split(text: &str) -> Vec<Word> {
    let chars: Vec<char> = text.chars().take(MAX_CHARS).collect();
    let mut words = Vec::new();
    let mut index = 0;
    while let Some(&c) = chars.get(index) {
        if c.is_whitespace() {
            index += 1;
            continue;
        }
        let end = word_end(&chars, index);
        let word: String = chars.get(index..end).unwrap_or_default().iter().collect();
        let column = u32::try_from(index + 1).unwrap_or(u32::MAX);
        words.push(Word {
            text: unwrapped(&word),
            column,
        });
        index = end;
    }
    words
}

fn word_end(chars: &[char], start: usize) -> usize {
    let mut index = start;
    let mut value_begins = true;
    while let Some(&c) = chars.get(index) {
        let opens = match c {
            '"' => true,
            '\'' | '[' => value_begins,
            _ => false,
        };
        let escaped = index > start && chars.get(index - 1) == Some(&'\\');
        let closed = if opens && !escaped {
            closing(chars, index)
        } else {
            None
        };
        if let Some(end) = closed {
            index = end + 1;
            value_begins = false;
            continue;
        }
        if c.is_whitespace() {
            return index;
        }
        value_begins = c == '=';
        index += 1;
    }
    index
}

/// Index of what closes the quote or bracket at `start`.
fn closing(chars: &[char], start: usize) -> Option<usize> {
    let open = *chars.get(start)?;
    let mut index = start + 1;
    while let Some(&c) = chars.get(index) {
        match (open, c) {
            (_, '\\') => index += 1,
            ('[', ']') => return Some(index),
            // One level of quotes inside brackets; lists in lists are for the value parser.
            ('[', '"' | '\'') => index = closing_quote(chars, index).unwrap_or(index),
            ('[', '[') => index = closing_bracket(chars, index)?,
            (quote, c) if quote != '[' && quote == c => return Some(index),
            _ => {}
        }
        index += 1;
    }
    None
}

fn closing_quote(chars: &[char], start: usize) -> Option<usize> {
    let quote = *chars.get(start)?;
    let mut escaped = false;
    let rest = chars.get(start + 1..)?;
    let offset = rest.iter().position(|&c| {
        let closes = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    })?;
    Some(start + 1 + offset)
}

fn closing_bracket(chars: &[char], start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (index, &c) in chars.iter().enumerate().skip(start) {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return Some(index);
        }
    }
    None
}

/// `"key=a b"` is `key=a b`.
fn unwrapped(word: &str) -> String {
    let inner = word
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    match inner {
        Some(inner) if inner.contains('=') && !inner.contains('"') => inner.to_owned(),
        _ => word.to_owned(),
    }
}

/// The text of a value: quotes around it taken off, `\"` and `\'` unescaped.
pub(super) fn plain(value: &str) -> String {
    let inner = quoted(value).unwrap_or(value);
    inner.replace("\\\"", "\"").replace("\\'", "'")
}

fn quoted(value: &str) -> Option<&str> {
    let quote = value
        .chars()
        .next()
        .filter(|first| matches!(first, '"' | '\''))?;
    let inner = value.strip_prefix(quote)?;
    inner
        .strip_suffix(quote)
        .filter(|inner| !inner.ends_with('\\'))
}

/// The node of a value: a quoted text, a list `[a,b]`, or a plain scalar. Maps cannot be written.
pub(super) fn value(text: &str, position: &Position) -> Node {
    nested(text, position, 0)
}

fn nested(text: &str, position: &Position, depth: usize) -> Node {
    let scalar = |text: String, quoted| Node {
        data: Data::Scalar { text, quoted },
        position: position.clone(),
    };
    if text.is_empty() || quoted(text).is_some() {
        return scalar(plain(text), true);
    }
    let inner = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match inner {
        Some(inner) if depth < MAX_LISTS => {
            let items = items(inner)
                .iter()
                .map(|item| nested(item, position, depth + 1))
                .collect();
            Node {
                data: Data::List(items),
                position: position.clone(),
            }
        }
        _ => scalar(plain(text), false),
    }
}

/// The items of a list, split at commas outside quotes and brackets.
fn items(inner: &str) -> Vec<String> {
    let chars: Vec<char> = inner.chars().collect();
    let mut items = Vec::new();
    let mut start = 0;
    let mut index = 0;
    let mut push = |from: usize, to: usize, last: bool| {
        let item: String = chars.get(from..to).unwrap_or_default().iter().collect();
        let item = item.trim();
        // `[]` and a comma at the end give no item.
        if !(last && item.is_empty()) {
            items.push(item.to_owned());
        }
    };
    while let Some(&c) = chars.get(index) {
        match c {
            '"' | '\'' | '[' => index = closing(&chars, index).unwrap_or(index),
            ',' => {
                push(start, index, false);
                start = index + 1;
            }
            _ => {}
        }
        index += 1;
    }
    push(start, chars.len(), true);
    items
}
