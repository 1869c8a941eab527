//! YAML text to a [`Node`] tree, with places and with limits on everything an input could blow up.
//! Owns the limits and the wording of syntax errors; what the tree means is `schema`'s business.

mod build;
mod explain;

use crate::node::Node;
use crate::problem::{Position, Problem, Severity};
use saphyr_parser::Parser;
use std::borrow::Cow;
use std::sync::Arc;

/// Bytes of one input.
pub const MAX_BYTES: usize = 16 << 20;
/// Nodes of one input, each alias counted with all it stands for.
pub const MAX_NODES: usize = 100_000;
/// Bytes of text of one input, each alias counted with all it stands for.
const MAX_TEXT: usize = 32 << 20;
/// Levels of nesting.
pub const MAX_DEPTH: usize = 64;
/// Characters `,`, `[` and `{`: the scanner keeps a flow collection's tokens in memory until it ends.
const MAX_FLOW_MARKS: usize = 200_000;

/// A tree and what was found on the way that did not stop the parser.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parsed {
    /// The first document; a null scalar when there is none.
    pub root: Node,
    /// Notices, and errors that cost one value.
    pub problems: Vec<Problem>,
}

/// Parses one YAML document.
///
/// # Errors
/// The one problem that makes the whole input unusable: not text, too large, or not YAML.
pub fn parse(bytes: &[u8], file: &str) -> Result<Parsed, Problem> {
    let file: Arc<str> = file.into();
    let text = readable(bytes, &file)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut problems = Vec::new();
    let text = unix_line_ends(text, &file, &mut problems);
    // The scanner is not ours and this runs in PID 1: a panic in it must cost this input, not the boot.
    let build = || build::Builder::new(Arc::clone(&file)).run(Parser::new_from_str(&text));
    match std::panic::catch_unwind(build) {
        Ok(Ok(parsed)) => {
            problems.extend(parsed.problems);
            Ok(Parsed {
                root: parsed.root,
                problems,
            })
        }
        Ok(Err(build::Stop::Scan(error))) => Err(explain::scan_error(&error, &text, &file)),
        Ok(Err(build::Stop::Limit(problem))) => Err(problem),
        Err(_) => {
            Err(whole(&file, "The YAML parser failed")
                .advise("simplify the file: no anchors, no tags"))
        }
    }
}

fn whole(file: &str, what: &str) -> Problem {
    Problem::new(Severity::Error, &Position::whole(file), "", what)
}

fn readable<'a>(bytes: &'a [u8], file: &Arc<str>) -> Result<&'a str, Problem> {
    if bytes.len() > MAX_BYTES {
        let what = format!("Too large: {} bytes, the limit is {MAX_BYTES}", bytes.len());
        return Err(whole(file, &what).advise("keep large content out of the configuration"));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let at = place_after(&String::from_utf8_lossy(valid), file);
        Problem::new(Severity::Error, &at, "", "Not UTF-8 text").advise("save the file as UTF-8")
    })?;
    let control = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    if let Some((index, found)) = text.char_indices().find(|&(_, c)| control(c)) {
        let at = place_after(text.get(..index).unwrap_or_default(), file);
        let what = format!(
            "Control character U+{:04X}: not a text file",
            u32::from(found)
        );
        return Err(Problem::new(Severity::Error, &at, "", what)
            .advise("remove it, or encode the content with base64"));
    }
    if text
        .bytes()
        .filter(|byte| matches!(byte, b',' | b'[' | b'{'))
        .count()
        > MAX_FLOW_MARKS
    {
        let what =
            format!("Too many of the characters `,`, `[` and `{{`: the limit is {MAX_FLOW_MARKS}");
        return Err(whole(file, &what).advise("encode large content with base64"));
    }
    Ok(text)
}

fn place_after(before: &str, file: &Arc<str>) -> Position {
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .map_or(0, |tail| tail.chars().count())
        + 1;
    Position::new(file, small(line), small(column))
}

fn unix_line_ends<'a>(text: &'a str, file: &Arc<str>, problems: &mut Vec<Problem>) -> Cow<'a, str> {
    let Some(index) = text.find("\r\n") else {
        return Cow::Borrowed(text);
    };
    let at = place_after(text.get(..index).unwrap_or_default(), file);
    let what = "file format shouldn't contain CRLF characters";
    problems.push(
        Problem::new(Severity::Notice, &at, "", what).advise("read as if it had Unix line ends"),
    );
    Cow::Owned(text.replace("\r\n", "\n"))
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
