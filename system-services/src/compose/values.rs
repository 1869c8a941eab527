//! Lenient readers of YAML values: Compose v1 takes a scalar of any type where it wants text, and lists, maps or one string where it
//! wants several. Each reader names the key in its complaint.

use serde_json::Value;

use super::problem::Wrong;

/// `name` with an optional value: `NAME=value`, `NAME`, or an entry of a map.
pub(super) type Pair = (String, Option<String>);

/// A scalar of any type as text; null is empty.
pub(super) fn text(key: &str, value: &Value) -> Result<String, Wrong> {
    match value {
        Value::Null => Ok(String::new()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        Value::String(text) => Ok(text.clone()),
        Value::Array(_) => Err(Wrong::new(key, "expected one value, given a list")),
        Value::Object(_) => Err(Wrong::new(key, "expected one value, given a map")),
    }
}

/// A list of scalars, or one scalar.
pub(super) fn texts(key: &str, value: &Value) -> Result<Vec<String>, Wrong> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(i, item)| text(&format!("{key}[{i}]"), item))
            .collect(),
        single => Ok(vec![text(key, single)?]),
    }
}

/// A list of words, or one string that is split as a shell would, without running one.
pub(super) fn words(key: &str, value: &Value) -> Result<Vec<String>, Wrong> {
    match value {
        Value::String(line) => shell_words::split(line)
            .map_err(|_| Wrong::new(key, format!("a quote is not closed in `{line}`"))),
        other => texts(key, other),
    }
}

/// A yes or no, in any of YAML's spellings.
pub(super) fn flag(key: &str, value: &Value) -> Result<bool, Wrong> {
    match text(key, value)?.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" | "" => Ok(false),
        other => Err(Wrong::new(
            key,
            format!("expected true or false, given `{other}`"),
        )),
    }
}

/// A whole number, also as text.
pub(super) fn integer(key: &str, value: &Value) -> Result<i64, Wrong> {
    let given = text(key, value)?;
    given
        .trim()
        .parse()
        .map_err(|_| Wrong::new(key, format!("expected a whole number, given `{given}`")))
}

/// A map, or a list of `name=value` (or `name<separator>value`) strings and of maps.
pub(super) fn pairs(key: &str, value: &Value, separator: char) -> Result<Vec<Pair>, Wrong> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Object(map) => map
            .iter()
            .map(|(name, value)| map_pair(key, name, value))
            .collect(),
        Value::Array(items) => {
            let mut all = Vec::new();
            for (index, item) in items.iter().enumerate() {
                let at = format!("{key}[{index}]");
                match item {
                    Value::Object(_) => all.extend(pairs(&at, item, separator)?),
                    scalar => all.push(split_pair(&text(&at, scalar)?, separator)),
                }
            }
            Ok(all)
        }
        scalar => Ok(vec![split_pair(&text(key, scalar)?, separator)]),
    }
}

fn map_pair(key: &str, name: &str, value: &Value) -> Result<Pair, Wrong> {
    match value {
        Value::Null => Ok((name.to_owned(), None)),
        other => Ok((
            name.to_owned(),
            Some(text(&format!("{key}.{name}"), other)?),
        )),
    }
}

fn split_pair(line: &str, separator: char) -> Pair {
    match line.split_once(separator) {
        Some((name, value)) => (name.trim().to_owned(), Some(value.to_owned())),
        None => (line.trim().to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scalars_of_any_type_are_text() {
        assert_eq!(
            texts("k", &json!(["a", 1, true, null])),
            Ok(vec!["a".into(), "1".into(), "true".into(), String::new()])
        );
    }

    #[test]
    fn a_command_line_is_split_without_a_shell() {
        assert_eq!(
            words("command", &json!("sh -c 'a; b'")),
            Ok(vec!["sh".into(), "-c".into(), "a; b".into()])
        );
        assert_eq!(
            words("command", &json!("a 'b")),
            Err(Wrong::new("command", "a quote is not closed in `a 'b`"))
        );
    }

    #[test]
    fn maps_and_lists_are_the_same_pairs() {
        let expected = vec![
            ("A".to_owned(), Some("1".to_owned())),
            ("B".to_owned(), None),
        ];
        assert_eq!(
            pairs("environment", &json!({"A": 1, "B": null}), '='),
            Ok(expected.clone())
        );
        assert_eq!(
            pairs("environment", &json!(["A=1", "B"]), '='),
            Ok(expected)
        );
    }

    #[test]
    fn what_is_wrong_names_the_entry() {
        assert_eq!(
            texts("dns", &json!(["a", {}])),
            Err(Wrong::new("dns[1]", "expected one value, given a map"))
        );
        assert_eq!(
            flag("tty", &json!("maybe")),
            Err(Wrong::new("tty", "expected true or false, given `maybe`"))
        );
    }
}
