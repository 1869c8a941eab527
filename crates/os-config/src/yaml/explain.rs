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
    let what = format!("Not YAML: {info}");
    Problem::new(Severity::Error, &position, "", what).advise(advice(info))
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

fn advice(info: &str) -> &'static str {
    if info.contains("quote") || info.contains("scalar") {
        return "check that every quote on this line and the ones before is closed";
    }
    if info.contains("flow") || info.contains(',') || info.contains(']') || info.contains('}') {
        return "check that every `[` and `{` is closed";
    }
    if info.contains("mapping values") || info.contains(':') {
        return "check the indentation, that `key:` has a colon and a blank, and quote values that contain `: `";
    }
    "check the indentation of this line and the one before, and quote values with special characters"
}
