//! How answers are written: which format a request accepts, and the text of a node in it. Pure.

use std::cmp::Reverse;
use std::fmt::Write;

use super::node::Node;

/// A format of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Values as they are, folders as a list of keys.
    Text,
    /// JSON (RFC 8259).
    Json,
    /// YAML.
    Yaml,
}

/// The media types that are offered, the favourite first.
const OFFERS: [(&str, Format); 6] = [
    ("text/plain", Format::Text),
    ("application/json", Format::Json),
    ("application/yaml", Format::Yaml),
    ("application/x-yaml", Format::Yaml),
    ("text/yaml", Format::Yaml),
    ("text/x-yaml", Format::Yaml),
];

impl Format {
    /// The one that an `Accept` header prefers (RFC 9110, 12.5.1): the highest weight, then the most particular range, then our favourite.
    /// Text, when it accepts none of them: the ancestor answers so, too.
    #[must_use]
    pub fn accepted(header: &str) -> Self {
        let preference = |range: &str| {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts
                .find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
                .map_or(1000, thousandths);
            let (detail, offer) = offered(&kind).filter(|_| weight > 0)?;
            Some((weight, detail, Reverse(offer)))
        };
        let best = header.split(',').filter_map(preference).max();
        best.and_then(|(_, _, Reverse(offer))| OFFERS.get(offer))
            .map_or(Self::Text, |(_, format)| *format)
    }

    /// Its media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
        }
    }

    /// A node in this format. What cannot be written is empty: nothing that a node holds is such.
    #[must_use]
    pub fn render(self, node: &Node<'_>) -> String {
        match self {
            Self::Text => text(node),
            Self::Json => serde_json::to_string(node).unwrap_or_default(),
            Self::Yaml => serde_yaml::to_string(node).unwrap_or_default(),
        }
    }
}

/// How particular a media range is, and the first offer that it covers, by its place.
fn offered(range: &str) -> Option<(u8, usize)> {
    if range == "*/*" {
        return Some((1, 0));
    }
    if let Some(group) = range.strip_suffix("/*") {
        let is_of = |(kind, _): &(&str, Format)| kind.split('/').next() == Some(group);
        return Some((2, OFFERS.iter().position(is_of)?));
    }
    let is_it = |(kind, _): &(&str, Format)| *kind == range;
    Some((3, OFFERS.iter().position(is_it)?))
}

/// A weight between 0 and 1 with at most three decimals, in thousandths; none that can be read counts as 0.
fn thousandths(text: &str) -> u16 {
    let weight: f32 = text.trim().parse().unwrap_or(0.0);
    // In range by the clamp; a fraction of a thousandth means nothing.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    if weight.is_finite() {
        (weight.clamp(0.0, 1.0) * 1000.0).round() as u16
    } else {
        0
    }
}

fn text(node: &Node<'_>) -> String {
    match node {
        Node::Null => String::new(),
        Node::Text(text) => text.to_string(),
        Node::Number(number) => number.to_string(),
        Node::Flag(flag) => flag.to_string(),
        Node::Map(values) => {
            let line = |(key, value): &(_, Node<'_>)| {
                format!(
                    "{}{}\n",
                    escape(key),
                    if value.is_folder() { "/" } else { "" }
                )
            };
            let mut lines: Vec<String> = values.iter().map(line).collect();
            // With the slash and the end of the line, as the ancestor sorts them.
            lines.sort_unstable();
            lines.concat()
        }
        Node::List(values) => numbered(
            values
                .iter()
                .map(|value| if value.is_folder() { "/" } else { "" }),
        ),
        Node::Objects(objects) => {
            numbered(objects.names().map(|name| format!("={}", escape(&name))))
        }
    }
}

fn numbered(suffixes: impl Iterator<Item = impl AsRef<str>>) -> String {
    let mut text = String::new();
    for (place, suffix) in suffixes.enumerate() {
        // Writing to a string cannot fail.
        writeln!(text, "{place}{}", suffix.as_ref()).ok();
    }
    text
}

/// A key as it stands in an address: letters, digits and `-_.~` as they are, a space as `+`, the rest as `%XX`.
#[must_use]
pub fn escape(key: impl AsRef<str>) -> String {
    let mut escaped = String::with_capacity(key.as_ref().len());
    for byte in key.as_ref().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte))
            }
            b' ' => escaped.push('+'),
            _ => drop(write!(escaped, "%{byte:02X}")),
        }
    }
    escaped
}

/// The other way round.
///
/// # Errors
/// The part that is no escape, or the whole when it is not UTF-8.
pub fn unescape(part: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digit = |place: usize| char::from(*after.get(place)?).to_digit(16);
                let code = digit(0)
                    .zip(digit(1))
                    .and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
                let bad = || format!("%{}", String::from_utf8_lossy(&after[..after.len().min(2)]));
                bytes.push(code.ok_or_else(bad)?);
                rest = after.get(2..).unwrap_or_default();
            }
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| part.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_headers() {
        for (header, format) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/html", Format::Text),
            ("text/*", Format::Text),
            ("application/json", Format::Json),
            ("Application/JSON; charset=utf-8", Format::Json),
            ("application/*", Format::Json),
            ("application/json, */*", Format::Json),
            ("application/json, text/plain, */*", Format::Text),
            ("text/plain, application/json", Format::Text),
            ("text/plain;q=0.5, application/json;q=0.9", Format::Json),
            ("text/plain;q=0.5, application/json;q=0.4", Format::Text),
            ("application/json;q=0", Format::Text),
            ("application/json;q=0, text/yaml;q=0.001", Format::Yaml),
            ("application/x-yaml", Format::Yaml),
            ("text/x-yaml;q=nan, application/yaml;q=1", Format::Yaml),
            ("application/json;q=banana", Format::Text),
            ("application/yaml, application/json", Format::Json),
            (",;q=,,", Format::Text),
            ("*", Format::Text),
        ] {
            assert_eq!(Format::accepted(header), format, "{header}");
        }
    }

    #[test]
    fn escapes_come_back() {
        for (plain, escaped) in [
            ("io.rancher/x y", "io.rancher%2Fx+y"),
            ("ä+%", "%C3%A4%2B%25"),
            ("a-b_c.~", "a-b_c.~"),
        ] {
            assert_eq!(escape(plain), escaped);
            assert_eq!(unescape(escaped).as_deref(), Ok(plain));
        }
        for bad in ["%", "a%2", "%zz", "%é", "%ff", "%c3"] {
            assert!(unescape(bad).is_err(), "{bad}: {:?}", unescape(bad));
        }
        assert_eq!(unescape("a%zzb"), Err("%zz".into()));
    }
}
