//! Syntax errors in words that say what to do. Owns the wording only.

use super::small;
use crate::problem::{Position, Problem, Severity};
use saphyr_parser::ScanError;
use std::sync::Arc;

/// The scanner's error as a problem. The scanner often notices an error only on the next line, so the line before is
/// looked at too.
pub(super) fn scan_error(error: &ScanError, text: &str, file: &Arc<str>) -> Problem {
    let mark = error.marker();
    let mut position = Position::new(file, small(mark.line()), small(mark.col() + 1));
    if let Some((line, column)) = tab_indent(text, mark.line()) {
        position = Position::new(file, small(line), small(column));
        let problem = Problem::new(Severity::Error, &position, "", "A tab indents this line");
        return problem.advise("indent with spaces");
    }
    let info = error.info();
    if info.contains("simple key") {
        // Noticed only after the line that lacks the colon.
        let (line, column) = content_before(text, mark.line());
        position = Position::new(file, small(line), small(column));
    }
    let (what, advice) = words(info);
    let what = format!("Not YAML: {}", if what.is_empty() { info } else { what });
    Problem::new(Severity::Error, &position, "", what).advise(advice)
}

/// The last line with content before `line`, and where its content begins; from 1.
fn content_before(text: &str, line: usize) -> (usize, usize) {
    let before = text.lines().enumerate().take(line.saturating_sub(1));
    let with_content = before.filter(|(_, content)| !content.trim().is_empty());
    with_content.last().map_or((line, 1), |(index, content)| {
        let indent = content.chars().take_while(|c| c.is_whitespace()).count();
        (index + 1, indent + 1)
    })
}

/// Line and column, from 1, of a tab in the indentation of `line` or the one before.
fn tab_indent(text: &str, line: usize) -> Option<(usize, usize)> {
    let candidates = [line.saturating_sub(1), line];
    candidates
        .into_iter()
        .filter(|&number| number > 0)
        .find_map(|number| {
            let content = text.lines().nth(number - 1)?;
            let indent: String = content.chars().take_while(|c| c.is_whitespace()).collect();
            indent.find('\t').map(|column| (number, column + 1))
        })
}

/// What the scanner means (empty: its own words are good), and what to do.
fn words(info: &str) -> (&'static str, &'static str) {
    const CLOSE: &str = "check that every `[` and `{` is closed";
    const QUOTES: &str =
        "check the quotes on this line and the ones before; inside '…' write ' twice";
    match info {
        _ if info.contains("trailing content") => ("something follows the closing quote", QUOTES),
        _ if info.contains("quoted scalar") => ("a quote is not closed", QUOTES),
        _ if info.contains("flow") => ("a `[` or `{` is not closed", CLOSE),
        _ if info.contains("simple key") => (
            "this line has no `key:`",
            "add the colon, or indent the line",
        ),
        _ if info.contains("mapping values") => (
            "a second `:` where a value belongs",
            "check the indentation, that the line before has its colon, and quote values that contain `: `",
        ),
        _ if info.contains("block mapping") => (
            "a line that is neither at the level of the keys above it nor below one",
            "check the indentation of this line and the ones before",
        ),
        _ if info.contains("node content") => (
            "a value is missing here",
            "check that every `[` and `{` is closed",
        ),
        _ if info.contains("unexpected character") => ("", "put the value in quotes"),
        _ => (
            "",
            "check the indentation of this line and the one before, and quote values with special characters",
        ),
    }
}
