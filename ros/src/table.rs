//! Tables for people: columns padded with two blanks, the last one as long as it is. Also how long ago something was. Pure.

use jiff::Timestamp;

/// Seconds of the units that a time is told in, the largest first.
const UNITS: [(u64, &str); 4] = [
    (86_400, "day"),
    (3_600, "hour"),
    (60, "minute"),
    (1, "second"),
];

/// The table's text: a line for the header and one for each row.
pub fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let header = header.map(str::to_owned);
    let lines: Vec<&[String; N]> = std::iter::once(&header).chain(rows).collect();
    let width = |column: usize| {
        let widths = lines.iter().map(|line| line[column].chars().count());
        widths.max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let text = |line: &&[String; N]| {
        let cells = line.iter().zip(&widths);
        let padded = cells.map(|(cell, width)| format!("{cell:width$}  "));
        padded.collect::<String>().trim_end().to_owned() + "\n"
    };
    lines.iter().map(text).collect()
}

/// How long before `now` something was: `3 minutes ago`; in the future: `in 3 minutes`.
pub fn ago(now: Timestamp, then: Timestamp) -> String {
    let distance = now.duration_since(then);
    match (distance.unsigned_abs().as_secs(), distance.is_negative()) {
        (0, _) => "now".into(),
        (seconds, false) => format!("{} ago", length(seconds)),
        (seconds, true) => format!("in {}", length(seconds)),
    }
}

/// A span of time in its largest unit, of which there are two or more where a smaller one can say it: `90 seconds`, `3 hours`.
pub fn length(seconds: u64) -> String {
    let fitting = UNITS
        .iter()
        .find(|(size, _)| seconds >= size * 2)
        .unwrap_or(&UNITS[3]);
    let count = seconds / fitting.0;
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {}{plural}", fitting.1)
}

/// What stands for nothing.
pub fn or_dash(text: Option<impl ToString>) -> String {
    text.map_or_else(|| "-".into(), |text| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn columns_are_padded() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        assert_eq!(
            table(
                ["Name", "State", "Ports"],
                &[
                    row(["a-long-name", "Up", ""]),
                    row(["wéb", "Down", "80/tcp"])
                ]
            ),
            "Name         State  Ports\n\
             a-long-name  Up\n\
             wéb          Down   80/tcp\n"
        );
        assert_eq!(table(["Name"], &[]), "Name\n");
    }

    #[test]
    fn times_are_told_in_their_largest_unit() {
        let now = Timestamp::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let told = |seconds: u64| ago(now, now - Duration::from_secs(seconds));
        assert_eq!(told(0), "now");
        assert_eq!(told(1), "1 second ago");
        assert_eq!(told(119), "119 seconds ago");
        assert_eq!(told(120), "2 minutes ago");
        assert_eq!(told(7_200), "2 hours ago");
        assert_eq!(told(100_000), "27 hours ago");
        assert_eq!(told(400_000), "4 days ago");
        assert_eq!(ago(now, now + Duration::from_secs(180)), "in 3 minutes");
    }
}
