//! A tree as YAML text that reads back as the same tree. Owns indentation and quoting; two blanks a level, lists at the
//! level of their key, as Go's YAML writers do.

use crate::node::{Data, Map, Meaning, Node, meaning};

/// The tree as a YAML document; ends with a newline.
#[must_use]
pub fn to_yaml(node: &Node) -> String {
    let mut out = String::new();
    match &node.data {
        Data::Map(map) if !map.is_empty() => write_map(&mut out, map, 0),
        Data::List(items) if !items.is_empty() => write_list(&mut out, items, 0),
        _ => {
            // Indented: a line `...` or `---` at the left edge would end the document.
            out.push_str(&inline(node, 2));
            out.push('\n');
        }
    }
    out
}

fn write_map(out: &mut String, map: &Map, indent: usize) {
    for (index, (name, entry)) in map.iter().enumerate() {
        if index > 0 {
            pad(out, indent);
        }
        out.push_str(&key(name));
        out.push(':');
        match &entry.node.data {
            Data::Map(inner) if !inner.is_empty() => {
                out.push('\n');
                pad(out, indent + 2);
                write_map(out, inner, indent + 2);
            }
            Data::List(items) if !items.is_empty() => {
                out.push('\n');
                pad(out, indent);
                write_list(out, items, indent);
            }
            _ => {
                out.push(' ');
                out.push_str(&inline(&entry.node, indent + 2));
                out.push('\n');
            }
        }
    }
}

fn write_list(out: &mut String, items: &[Node], indent: usize) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            pad(out, indent);
        }
        out.push_str("- ");
        match &item.data {
            Data::Map(inner) if !inner.is_empty() => write_map(out, inner, indent + 2),
            Data::List(inner) if !inner.is_empty() => write_list(out, inner, indent + 2),
            _ => {
                out.push_str(&inline(item, indent + 2));
                out.push('\n');
            }
        }
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// A scalar or an empty collection; `indent` is that of a block scalar's lines.
fn inline(node: &Node, indent: usize) -> String {
    match &node.data {
        Data::Map(_) => "{}".into(),
        Data::List(_) => "[]".into(),
        Data::Scalar {
            text,
            quoted: false,
        } if meaning(text) != Meaning::Text => {
            if text.is_empty() {
                "null".into()
            } else {
                text.clone()
            }
        }
        Data::Scalar { text, .. } => scalar(text, indent),
    }
}

fn key(name: &str) -> String {
    if plain_is_safe(name) && name != "<<" {
        name.to_owned()
    } else {
        double_quoted(name)
    }
}

fn scalar(text: &str, indent: usize) -> String {
    if plain_is_safe(text) {
        return text.to_owned();
    }
    if block_is_safe(text) {
        return block(text, indent);
    }
    if !text.contains(['\'', '\n']) && text.chars().all(printable) {
        return format!("'{text}'");
    }
    double_quoted(text)
}

/// True when `text`, written plain, reads back as this text, also for readers of YAML 1.1.
fn plain_is_safe(text: &str) -> bool {
    const INDICATORS: &str = "-?:,[]{}#&*!|>'\"%@`~<=+. ";
    let Some(first) = text.chars().next() else {
        return false;
    };
    let last_is_bad = text.ends_with([' ', ':']);
    // A leading indicator is mostly fine before a letter, but `./x` and `--x` are all that occur; be simple elsewhere.
    let first_is_bad = match first {
        '.' => text.starts_with("...") || !text.contains('/'),
        '-' => !text.starts_with("--") || text.starts_with("---"),
        '0'..='9' => text
            .chars()
            .all(|c| c.is_ascii_hexdigit() || "xobXOB.:_+-".contains(c)),
        _ => INDICATORS.contains(first),
    };
    !first_is_bad
        && !last_is_bad
        && !text.contains(": ")
        && !text.contains(" #")
        && text.chars().all(printable)
        && meaning(text) == Meaning::Text
        && !is_word_of_yaml_1_1(text)
}

fn printable(c: char) -> bool {
    !c.is_control()
        && !matches!(
            c,
            '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}'
        )
}

fn is_word_of_yaml_1_1(text: &str) -> bool {
    matches!(
        text.to_ascii_lowercase().as_str(),
        "yes" | "no" | "on" | "off" | "y" | "n"
    )
}

fn block_is_safe(text: &str) -> bool {
    let body = text.trim_end_matches('\n');
    // A first line that begins with a blank or is empty would need an indentation indicator.
    body.contains('\n')
        && !body.starts_with([' ', '\n', '\t'])
        && text.chars().all(|c| c == '\n' || c == '\t' || printable(c))
}

fn block(text: &str, indent: usize) -> String {
    let body = text.trim_end_matches('\n');
    let newlines = text.len() - body.len();
    let mut out = String::from(match newlines {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            pad(&mut out, indent);
            out.push_str(line);
        }
    }
    // The caller ends the last line; `|+` keeps the empty ones.
    out.extend(std::iter::repeat_n('\n', newlines.saturating_sub(1)));
    out
}

fn double_quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if printable(c) => out.push(c),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::parse;

    fn node(text: &str) -> Node {
        parse(text.as_bytes(), "test")
            .map(|parsed| parsed.root)
            .unwrap_or_default()
    }

    #[test]
    fn a_tree_is_written_as_people_write_it() {
        let text = "hostname: x\nrancher:\n  debug: true\n  modules:\n  - btrfs\n  - 'yes'\n  services:\n    a:\n      \
                    command: |\n        one\n\n          two\n      ports:\n      - '80:80'\n      opts: {}\n      list: []\n      \
                    nested:\n      - - a\n        - b\n      - k: v\n        l: 1.10\n";
        assert_eq!(to_yaml(&node(text)), text);
    }

    #[test]
    fn marks_of_documents_within_a_text_are_text() {
        for text in ["...\na", "a\n---\nb\n", "--- a", "...", "a\n# b", "a\n%c\n"] {
            let tree = Node::text(text);
            assert_eq!(node(&to_yaml(&tree)).to_value(), tree.to_value(), "{text}");
        }
    }

    #[test]
    fn texts_that_look_like_something_else_are_quoted() {
        for text in [
            "",
            "true",
            "12",
            "0644",
            "1e3",
            "~",
            "no",
            "a: b",
            "a #b",
            "- a",
            "*x",
            "a:",
            " a",
            "1:30",
            "0x1f",
            "'",
            "2020-01-01",
            "=",
            "<<",
        ] {
            let written = to_yaml(&Node::text(text));
            let first = written.chars().next();
            assert!(
                matches!(first, Some('\'' | '"')),
                "{text} is written {written}"
            );
        }
        for text in [
            "a",
            "a b",
            "--host",
            "./x",
            "LABEL=X",
            "a:b",
            "ssh-rsa AAAA= me@x",
            "/dev/sda",
            "10.0.0.1/24",
            "5m",
        ] {
            assert_eq!(to_yaml(&Node::text(text)), format!("{text}\n"));
        }
    }
}
