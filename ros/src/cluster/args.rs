//! Arguments that the commands of a cluster share: which cluster, which project, how to print; and secrets, which need not stand on a
//! command line, where every user of the machine can read them.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;

use super::error::{Error, Result};
use crate::outcome::Outcome;

/// Which cluster is spoken to, and how the answer is printed.
#[derive(Debug, Clone, Default, Args)]
pub struct Common {
    /// Speak to this context's cluster instead of the current one's (also ROS_CONTEXT)
    #[arg(long, global = true, value_name = "NAME", add = super::complete::contexts())]
    pub context: Option<String>,
    /// In this project instead of the context's (also ROS_PROJECT)
    #[arg(long, global = true, value_name = "NAME", add = super::complete::projects())]
    pub project: Option<String>,
    #[command(flatten)]
    pub shown: Shown,
}

/// How an answer is printed.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Shown {
    /// How to print
    #[arg(long, global = true, value_enum, default_value_t)]
    pub format: Format,
}

/// Forms of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
    /// For programs and people
    Yaml,
}

impl Shown {
    /// Prints `text()`, or `value` when a program is to read it.
    pub fn print(self, value: &impl Serialize, text: impl FnOnce() -> String) -> Outcome {
        let text = match self.format {
            Format::Table => text(),
            Format::Json => serde_json::to_string_pretty(value)? + "\n",
            Format::Yaml => serde_yaml::to_string(value)?,
        };
        print(&text)
    }

    /// Prints that an object is removed: `text`, or its name as it was given when a program is to read it.
    pub fn removed(self, name: &str, text: &str) -> Outcome {
        self.print(&json!({ "removed": name }), || format!("{text}\n"))
    }

    /// Prints `text` at once; nothing when a program waits for the whole answer.
    pub fn tell(self, text: &str) -> Outcome {
        match self.format {
            Format::Table => print(text),
            Format::Json | Format::Yaml => Ok(ExitCode::SUCCESS),
        }
    }
}

/// Prints; a reader that went away (`| head`) is no failure.
pub fn print(text: &str) -> Outcome {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// A secret that is asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Asked {
    /// What it is.
    pub what: &'static str,
    /// Where it is written on the command line.
    pub place: &'static str,
    /// The variable that may hold it.
    pub variable: &'static str,
}

/// What hosts join with.
pub const JOIN_TOKEN: Asked = Asked {
    what: "join token",
    place: "after the server's address",
    variable: "ROS_TOKEN",
};

/// What users speak with.
pub const API_KEY: Asked = Asked {
    what: "API key",
    place: "after --key",
    variable: "ROS_KEY",
};

/// A secret as it was given: itself, `-` for standard input, `@FILE` for a file; none: its variable.
pub fn secret(given: Option<&str>, asked: &'static Asked) -> Result<String> {
    let text = match given {
        None => std::env::var(asked.variable).map_err(|_| Error::NoSecret(asked))?,
        Some("-") => {
            let mut text = String::new();
            let read = io::stdin().take(LARGEST).read_to_string(&mut text);
            read.map_err(|error| Error::File("standard input".into(), error))?;
            text
        }
        Some(given) => match given.strip_prefix('@') {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| Error::File(path.to_owned(), error))?,
            None => given.to_owned(),
        },
    };
    let text = text.trim();
    if text.is_empty() {
        return Err(Error::NoSecret(asked));
    }
    Ok(text.to_owned())
}

/// Longest secret, bytes.
const LARGEST: u64 = 64 << 10;

/// `key=value`, and `key=` for an empty value.
pub fn label(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE, or KEY= for an empty value".into()),
    }
}

/// An IP address.
pub fn address(text: &str) -> std::result::Result<IpAddr, String> {
    let parsed = text.parse();
    parsed.map_err(|_| "write an IP address, such as 10.0.0.7 or fd00::7".into())
}

/// `90s`, `30m`, `24h`, `7d`, in seconds.
pub fn span(text: &str) -> std::result::Result<u64, String> {
    let wrong = || "write a number and a unit: 90s, 30m, 24h or 7d".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let size = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    // A hundred years: what is longer is a slip of the finger, and would leave the calendar.
    Some(number * size)
        .filter(|seconds| number < 36_500 * 86_400 && (1..36_500 * 86_400).contains(seconds))
        .ok_or_else(|| "this is not between a second and a hundred years".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_unit() {
        assert_eq!(span("90s"), Ok(90));
        assert_eq!(span("24h"), Ok(86_400));
        assert_eq!(span("7d"), Ok(7 * 86_400));
        for wrong in [
            "",
            "5",
            "h",
            "-1h",
            "1w",
            "1ä",
            "0s",
            "99999999999999999999h",
            "40000d",
        ] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn labels_have_a_key() {
        assert_eq!(label("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(label("a="), Ok(("a".into(), String::new())));
        for wrong in ["a", "=b", "=", ""] {
            let said = label(wrong).unwrap_err();
            assert!(said.starts_with("write KEY=VALUE"), "{wrong}: {said}");
        }
    }
}
