//! The label `cron.schedule`: when a service is started. Pure: what time it is, others know.
//!
//! As in RancherOS 1.x: six fields (second, minute, hour, day of month, month, day of week), `@hourly` and the like, `@every 1h30m`; and
//! the five fields of crontab(5) besides. Times are UTC.

use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::{Timestamp, tz::TimeZone};

const EVERY: &str = "@every ";

/// When a service is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    times: Times,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Times {
    /// At these moments of the calendar.
    At(Box<Cron>),
    /// So long after the last time.
    Every(Duration),
}

impl Schedule {
    /// Reads the value of the label.
    ///
    /// # Errors
    /// What is wrong, and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!(
                "`{text}` is no schedule: {why}; expected `second minute hour day month weekday` such as `0 30 4 * * *`, or @hourly, @daily, @weekly, @monthly, @yearly, or `@every 1h30m`"
            )
        };
        let times = match text.strip_prefix(EVERY) {
            Some(pause) => Times::Every(duration(pause).ok_or_else(|| wrong("no length of time"))?),
            None => {
                let cron = calendar(text).map_err(|why| wrong(&why))?;
                Times::At(Box::new(cron))
            }
        };
        let schedule = Self {
            text: text.to_owned(),
            times,
        };
        // Any moment will do: the calendar repeats itself.
        match schedule.next(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(schedule),
            None => Err(wrong("that day never comes")),
        }
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first time after `after`.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.times {
            Times::Every(pause) => after.checked_add(*pause).ok(),
            Times::At(cron) => {
                let civil = after.to_zoned(TimeZone::UTC).datetime();
                let next = cron.find_next_occurrence(&civil, false).ok()?;
                Some(next.to_zoned(TimeZone::UTC).ok()?.timestamp())
            }
        }
    }
}

/// `?` is `*`, and `@midnight` is `@daily`, as 1.x had it.
fn calendar(text: &str) -> Result<Cron, String> {
    let parser = CronParser::builder()
        .seconds(Seconds::Optional)
        .year(Year::Disallowed)
        .sloppy_ranges(true)
        .build();
    let pattern = match text.trim() {
        "@midnight" => "@daily".to_owned(),
        other => other.replace('?', "*"),
    };
    let unlike_ours = |why: &str| why.trim_end_matches('.').to_owned();
    parser
        .parse(&pattern)
        .map_err(|error| unlike_ours(&error.to_string()))
}

/// `1h30m`, `45s`: hours, minutes, seconds; at least one second.
fn duration(text: &str) -> Option<Duration> {
    let mut seconds: u64 = 0;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let (number, unit) = rest.split_at(end);
        let factor = match unit.chars().next()? {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        let part = number.parse::<u64>().ok()?.checked_mul(factor)?;
        seconds = seconds.checked_add(part)?;
        rest = unit.get(1..)?;
    }
    // A year is longer than anybody waits, and far from what a calendar cannot hold.
    (1..=366 * 24 * 3600)
        .contains(&seconds)
        .then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(text: &str) -> String {
        let now: Timestamp = "2026-11-23T12:34:56Z".parse().unwrap();
        let schedule = Schedule::parse(text).unwrap();
        schedule.next(now).unwrap().to_string()
    }

    #[test]
    fn schedules_of_1x_mean_what_they_meant() {
        for (text, time) in [
            ("*/5 * * * * *", "2026-11-23T12:35:00Z"),
            ("0 0 3 * * ?", "2026-11-24T03:00:00Z"),
            ("? ? 3 * * *", "2026-11-24T03:00:00Z"),
            ("0 0 0 * * SUN", "2026-11-29T00:00:00Z"),
            ("0 0 0 * * 0", "2026-11-29T00:00:00Z"),
            ("0 5/15 * * * *", "2026-11-23T12:35:00Z"),
            ("30 4 1 * *", "2026-12-01T04:30:00Z"),
            ("@hourly", "2026-11-23T13:00:00Z"),
            ("@midnight", "2026-11-24T00:00:00Z"),
            ("@every 1h30m", "2026-11-23T14:04:56Z"),
            ("@every 5s", "2026-11-23T12:35:01Z"),
        ] {
            assert_eq!(next(text), time, "{text}");
        }
    }

    #[test]
    fn what_is_no_schedule_is_told_what_one_is() {
        for text in [
            "",
            "* * *",
            "60 * * * * *",
            "@reboot",
            "0 0 0 31 2 *",
            "@every",
            "@every x",
            "@every 0s",
            "@every 99999999999999h",
            "@every 5ß",
            "0 0 0 1 1 * 2030",
            "hourly",
            "\u{0}",
            "* * * * * ß",
            "99999999999 * * * * *",
            "*/0 * * * * *",
        ] {
            let error = Schedule::parse(text).unwrap_err();
            assert!(error.contains("expected `second minute"), "{text}: {error}");
        }
        let never = Schedule::parse("0 0 0 31 2 *").unwrap_err();
        assert!(never.contains("that day never comes"), "{never}");
    }
}
