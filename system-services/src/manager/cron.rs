//! Whose time has come: services with `cron.schedule`. Starts nothing; `plan` does.
//!
//! Owns `/run/ros/services/cron.json`: since when each schedule is watched, which is its last turn, so that a manager that was killed
//! gives a turn that it missed once. The clock is the calendar's, and may be set.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::compose::{Project, Schedule};
use crate::files;

const FILE: &str = "/run/ros/services/cron.json";
/// Who comes later than this is not late: the clock was set, or the machine slept (cron(8) of Debian draws the line there too).
const LATEST: SignedDuration = SignedDuration::from_hours(3);

/// One schedule that is watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Watched {
    /// As it is written: another one begins anew.
    schedule: String,
    /// The last turn, or when it was first seen.
    since: Timestamp,
}

/// The turns of all services.
#[derive(Debug, Default)]
pub struct Turns {
    file: PathBuf,
    watched: BTreeMap<String, Watched>,
}

impl Turns {
    /// Goes on where the manager before ended.
    #[must_use]
    pub fn read() -> Self {
        Self::read_from(Path::new(FILE))
    }

    fn read_from(file: &Path) -> Self {
        let text = std::fs::read(file).unwrap_or_default();
        Self {
            file: file.to_owned(),
            watched: serde_json::from_slice(&text).unwrap_or_default(),
        }
    }

    /// Services whose time has come and whose turn was not taken.
    pub fn due(&mut self, project: &Project, now: Timestamp) -> BTreeSet<String> {
        let before = self.watched.clone();
        let mut due = BTreeSet::new();
        let mut watched = BTreeMap::new();
        for (service, schedule) in schedules(project) {
            let known = self.watched.remove(service);
            let mut turn = known
                .filter(|known| known.schedule == schedule.text())
                .unwrap_or_else(|| Watched {
                    schedule: schedule.text().to_owned(),
                    since: now,
                });
            if turn.since.duration_since(now) > LATEST {
                // The clock was set back.
                turn.since = now;
            }
            match schedule.next(turn.since) {
                Some(next) if next <= now && now.duration_since(next) > LATEST => turn.since = now,
                Some(next) if next <= now => {
                    due.insert(service.to_owned());
                }
                _ => {}
            }
            watched.insert(service.to_owned(), turn);
        }
        self.watched = watched;
        if self.watched != before {
            self.write();
        }
        due
    }

    /// The service has had its turn.
    pub fn taken(&mut self, service: &str, now: Timestamp) {
        if let Some(turn) = self.watched.get_mut(service) {
            turn.since = now;
            self.write();
        }
    }

    /// How long until the next turn of any service.
    #[must_use]
    pub fn pause(&self, project: &Project, now: Timestamp) -> Option<Duration> {
        let next = schedules(project).filter_map(|(service, schedule)| {
            let turn = self.watched.get(service)?;
            schedule.next(turn.since)
        });
        let pause = next.min()?.duration_since(now);
        // A turn that cannot be taken yet is tried again in the usual rhythm.
        pause.is_positive().then(|| pause.unsigned_abs())
    }

    /// What is not written is forgotten with this process, which costs a turn at worst.
    fn write(&self) {
        let text = serde_json::to_vec(&self.watched).unwrap_or_default();
        files::write_atomically(&self.file, &text, 0o600).ok();
    }
}

fn schedules(project: &Project) -> impl Iterator<Item = (&str, &Schedule)> {
    project.runnable().filter_map(|service| {
        let schedule = service.os.schedule.as_ref()?;
        Some((service.name.as_str(), schedule))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::testing::project;

    fn at(time: &str) -> Timestamp {
        format!("2026-11-{time}Z").parse().unwrap()
    }

    fn hourly() -> Project {
        project("{job: {image: i, labels: {cron.schedule: '@hourly'}}, other: {image: i}}")
    }

    #[test]
    fn a_turn_comes_once_and_survives_the_manager() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cron.json");
        let (project, nobody) = (hourly(), BTreeSet::new());
        let job: BTreeSet<String> = ["job".to_owned()].into();
        let mut turns = Turns::read_from(&file);
        assert_eq!(turns.due(&project, at("23T10:30:00")), nobody);
        let half_an_hour = Some(Duration::from_secs(1800));
        assert_eq!(turns.pause(&project, at("23T10:30:00")), half_an_hour);
        assert_eq!(turns.due(&project, at("23T10:59:59")), nobody);
        // Killed before, and not there at eleven and twelve.
        let mut turns = Turns::read_from(&file);
        assert_eq!(turns.due(&project, at("23T12:10:00")), job);
        assert_eq!(turns.due(&project, at("23T12:10:01")), job);
        assert_eq!(turns.pause(&project, at("23T12:10:01")), None);
        turns.taken("job", at("23T12:10:01"));
        let mut turns = Turns::read_from(&file);
        assert_eq!(turns.due(&project, at("23T12:59:59")), nobody);
        assert_eq!(turns.due(&project, at("23T13:00:00")), job);
    }

    #[test]
    fn a_clock_that_is_set_is_no_turn() {
        let folder = tempfile::tempdir().unwrap();
        let (project, nobody) = (hourly(), BTreeSet::new());
        let mut turns = Turns::read_from(&folder.path().join("cron.json"));
        turns.due(&project, at("01T00:30:00"));
        assert_eq!(turns.due(&project, at("23T10:30:00")), nobody);
        assert_eq!(turns.due(&project, at("02T10:59:59")), nobody);
        assert_eq!(turns.due(&project, at("02T11:00:00")).len(), 1);
    }

    #[test]
    fn another_schedule_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut turns = Turns::read_from(&folder.path().join("cron.json"));
        turns.due(&hourly(), at("23T10:30:00"));
        let daily = project("job: {image: i, labels: {cron.schedule: '@daily'}}");
        assert!(turns.due(&daily, at("23T11:30:00")).is_empty());
        assert!(turns.due(&hourly(), at("23T11:40:00")).is_empty());
        assert!(
            turns
                .due(&project("other: {image: i}"), at("23T12:40:00"))
                .is_empty()
        );
        assert!(turns.watched.is_empty());
    }
}
