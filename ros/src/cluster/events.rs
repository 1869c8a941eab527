//! `ros events`: what has happened, and what happens.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use api::event::EventKind;
use api::list::Change;
use api::resource::Kind;
use api::{Event, Id, Problem};
use clap::Args;
use jiff::Timestamp;
use serde::Deserialize;

use super::args::{Common, Format, span};
use super::error::{Error, Result};
use super::remote::Remote;
use crate::outcome::Outcome;
use crate::table::table;

/// Pause before a watch that broke is taken up again.
const PAUSE: Duration = Duration::from_secs(1);
/// Failures in a row after which it is given up.
const ATTEMPTS: u32 = 30;

/// Arguments of `ros events`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ros events\n  ros events --since 1h\n  ros events --follow --format json"
)]
pub struct EventsArgs {
    #[command(flatten)]
    common: Common,
    /// Of all projects and of the cluster itself; for administrators
    #[arg(long, conflicts_with = "project")]
    all: bool,
    /// Go on until interrupted
    #[arg(short, long)]
    follow: bool,
    /// Only what is not older: 90s, 30m, 24h, 7d, or a time such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Since>,
    /// At most so many of the past, the last ones
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 100)]
    lines: usize,
}

#[derive(Debug, Clone, Copy)]
enum Since {
    Time(Timestamp),
    Ago(u64),
}

fn since(text: &str) -> std::result::Result<Since, String> {
    if let Ok(time) = text.parse() {
        return Ok(Since::Time(time));
    }
    span(text)
        .map(Since::Ago)
        .map_err(|error| format!("{error}, or a time such as 2026-01-31T12:00:00Z"))
}

impl Since {
    fn time(self) -> Timestamp {
        match self {
            Self::Time(time) => time,
            Self::Ago(seconds) => Timestamp::now() - Duration::from_secs(seconds),
        }
    }
}

/// Runs `ros events`.
pub async fn run(args: EventsArgs) -> Outcome {
    let remote = Remote::open(&args.common)?;
    let folder = match args.all {
        true => format!("/v1/{}", EventKind::PLURAL),
        false => remote.folder::<EventKind>(),
    };
    let (mut events, revision) = remote.all_below::<EventKind>(&folder).await?;
    if let Some(since) = args.since {
        let begin = since.time();
        events.retain(|event| event.meta.created >= begin);
    }
    events.sort_by(|one, other| {
        let key = |event: &Event| (event.meta.created, event.meta.revision);
        key(one).cmp(&key(other))
    });
    let events = events.split_off(events.len().saturating_sub(args.lines));
    let format = args.common.shown.format;
    if !args.follow {
        return args.common.shown.print(&events, || rows(&events));
    }
    for event in &events {
        tell(event, format)?;
    }
    // A page after the first may have shown what the watch tells, too.
    let shown = events.into_iter().map(|event| event.meta.id).collect();
    let watched = Watched {
        remote,
        folder,
        revision,
        shown,
        told: BTreeSet::new(),
    };
    follow(watched, format).await
}

/// How far the events were told.
struct Watched {
    remote: Remote,
    folder: String,
    revision: u64,
    /// What a watch from the revision tells again.
    shown: BTreeSet<Id>,
    /// Told since that revision.
    told: BTreeSet<Id>,
}

async fn follow(mut watched: Watched, format: Format) -> Outcome {
    let mut failures = 0;
    loop {
        let before = watched.revision;
        match watched.go_on(format).await {
            Err(Error::Remote(why)) if failures < ATTEMPTS => {
                if failures == 0 {
                    eprintln!("{why}; trying again …");
                }
                failures += 1;
            }
            Err(Error::Closed) => return Ok(ExitCode::SUCCESS),
            Err(error) => return Err(error.into()),
            Ok(()) => {}
        }
        if watched.revision != before {
            failures = 0;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A line of a watch; the last one may be a refusal.
#[derive(Deserialize)]
#[serde(untagged)]
#[allow(clippy::large_enum_variant, reason = "one at a time, on the stack")]
enum Line {
    Change(Change<Event>),
    Refusal(Problem),
}

impl Watched {
    /// Tells what comes, until the server ends it: it is taken up again where it was.
    async fn go_on(&mut self, format: Format) -> Result<()> {
        let path = format!("{}?watch=true&revision={}", self.folder, self.revision);
        let mut lines = self.remote.client().lines(&path).await?;
        while let Some(line) = lines.next::<Line>().await? {
            match line {
                Line::Change(Change::Put { object }) => {
                    let id = object.meta.id.clone();
                    if !self.shown.remove(&id) && self.told.insert(id) {
                        tell(&object, format)?;
                    }
                }
                Line::Change(Change::Delete { .. }) => {}
                // All changes up to here have come.
                Line::Change(Change::Alive { revision }) => {
                    self.revision = revision;
                    self.told.clear();
                }
                Line::Refusal(problem) => {
                    return Err(Error::Other(format!("{problem}: start the command anew")));
                }
            }
        }
        Ok(())
    }
}

/// One event: a line for people, a document for programs.
fn tell(event: &Event, format: Format) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| Error::Other(error.to_string());
    let text = match format {
        Format::Table => format!("{}\n", cells(event).join("  ")),
        Format::Json => serde_json::to_string(event).map_err(|error| failed(&error))? + "\n",
        Format::Yaml => {
            let text = serde_yaml::to_string(event).map_err(|error| failed(&error))?;
            format!("---\n{text}")
        }
    };
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Error::Closed),
        Err(error) => Err(failed(&error)),
        Ok(()) => Ok(()),
    }
}

fn cells(event: &Event) -> [String; 4] {
    let spec = &event.spec;
    let by = match (spec.by_name.as_str(), spec.from.as_str()) {
        ("", _) => "the system".to_owned(),
        (name, "") => name.to_owned(),
        (name, from) => format!("{name} from {from}"),
    };
    let about = match (spec.object_name.as_str(), spec.message.as_str()) {
        (name, "") => name.to_owned(),
        ("", message) => message.to_owned(),
        (name, message) => format!("{name}: {message}"),
    };
    [event.meta.created.to_string(), spec.what.clone(), by, about]
}

fn rows(events: &[Event]) -> String {
    let rows: Vec<[String; 4]> = events.iter().map(cells).collect();
    table(["Time", "What", "By", "About"], &rows)
}
