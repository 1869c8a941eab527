//! The kernel command line, split as the kernel splits it (Documentation/admin-guide/kernel-parameters.rst).
//!
//! Only what belongs to the kernel and to PID 1 (`console=`, `panic=`) is read through this; `rancher.*` is os-config's.

/// One word of the kernel line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// What stands before `=`, or the whole word.
    pub name: String,
    /// What stands after `=`, without quotes.
    pub value: Option<String>,
}

/// Splits a kernel line at blanks outside double quotes.
pub fn parse(line: &str) -> Vec<Parameter> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.trim_end().chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => words.push(String::new()),
            c => {
                if let Some(word) = words.last_mut() {
                    word.push(c);
                }
            }
        }
    }
    words
        .iter()
        .filter(|word| !word.is_empty())
        .map(|word| parameter(word))
        .collect()
}

fn parameter(word: &str) -> Parameter {
    match word.split_once('=') {
        Some((name, value)) => Parameter {
            name: name.to_owned(),
            value: Some(value.to_owned()),
        },
        None => Parameter {
            name: word.to_owned(),
            value: None,
        },
    }
}

/// All values of `name`, in order.
pub fn values<'a>(parameters: &'a [Parameter], name: &'a str) -> impl Iterator<Item = &'a str> {
    parameters
        .iter()
        .filter(move |parameter| parameter.name == name)
        .filter_map(|parameter| parameter.value.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_a_word_together() {
        let all = parse("quiet console=tty0 a=\"b c\" \"d e\"=f console=ttyS0,115200 x=y=z\n");
        assert_eq!(
            values(&all, "console").collect::<Vec<_>>(),
            ["tty0", "ttyS0,115200"]
        );
        assert_eq!(values(&all, "a").collect::<Vec<_>>(), ["b c"]);
        assert_eq!(values(&all, "d e").collect::<Vec<_>>(), ["f"]);
        assert_eq!(values(&all, "x").collect::<Vec<_>>(), ["y=z"]);
        assert_eq!(
            all[0],
            Parameter {
                name: "quiet".into(),
                value: None
            }
        );
    }
}
