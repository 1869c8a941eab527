//! The `io.rancher.os.*` labels: how a service takes part in the boot.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::problem::Wrong;
use super::schedule::Schedule;

/// Which Docker runs a service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The system's Docker.
    System,
    /// The user's Docker.
    #[default]
    User,
}

/// `io.docker.compose.rebuild`: when a container is made anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rebuild {
    /// When image or definition changed.
    #[default]
    OnDrift,
    /// Once each boot, and when image or definition changed.
    Always,
    /// Never by itself: a change is only reported.
    Never,
}

/// `io.rancher.os.condition`: when a service takes part at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// A datasource that needs the network is configured, and no local one answered.
    NetworkDatasource,
    /// This machine has joined a cluster, or is to join one.
    ClusterAgent,
    /// A server of a cluster is to run here.
    ClusterServer,
    /// The clock is to be kept by the network.
    Ntp,
}

impl Condition {
    /// Why a service takes no part when it is not so.
    #[must_use]
    pub fn otherwise(self) -> &'static str {
        match self {
            Self::NetworkDatasource => "no datasource needs the network",
            Self::ClusterAgent => {
                "this machine is in no cluster and `rancher.cluster.join` names none"
            }
            Self::ClusterServer => "`rancher.cluster.server` is not set",
            Self::Ntp => "`ntp.enabled` is false",
        }
    }
}

/// The labels of one service, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OsLabels {
    /// `io.rancher.os.scope`
    pub scope: Scope,
    /// `io.rancher.os.detach`: false means that what comes after waits until the container exits.
    pub detach: bool,
    /// `io.rancher.os.createonly`: a template for `volumes_from`.
    pub createonly: bool,
    /// `io.rancher.os.reloadconfig`: the configuration is read again after it ran.
    pub reloadconfig: bool,
    /// `io.rancher.os.before`
    pub before: Vec<String>,
    /// `io.rancher.os.after`
    pub after: Vec<String>,
    /// `io.rancher.os.console`: the console's name; a change makes the container anew.
    pub console: Option<String>,
    /// `io.rancher.os.ready`: the file that says that the service is ready, below `/run`.
    pub ready: Option<PathBuf>,
    /// `io.rancher.os.shim: shared`: one shim process for all that say so.
    pub shared_shim: bool,
    /// `io.rancher.os.condition`
    pub condition: Option<Condition>,
    /// `io.docker.compose.rebuild`
    pub rebuild: Rebuild,
    /// `cron.schedule`
    pub schedule: Option<Schedule>,
    /// `cron.schedule` with `io.rancher.os.createonly: true`: started by the schedule and by nothing else.
    pub only_by_schedule: bool,
}

impl OsLabels {
    /// Reads the labels; what is wrong falls back to its default and is added to `wrong`.
    pub(super) fn read(labels: &BTreeMap<String, String>, wrong: &mut Vec<Wrong>) -> Self {
        let mut reader = Reader { labels, wrong };
        let createonly = reader.flag("io.rancher.os.createonly", false);
        let schedule = reader.schedule();
        Self {
            scope: reader.choice(
                "io.rancher.os.scope",
                &[("system", Scope::System), ("user", Scope::User)],
            ),
            detach: reader.flag("io.rancher.os.detach", true),
            createonly: createonly && schedule.is_none(),
            reloadconfig: reader.flag("io.rancher.os.reloadconfig", false),
            before: reader.names("io.rancher.os.before"),
            after: reader.names("io.rancher.os.after"),
            console: reader.get("io.rancher.os.console").map(str::to_owned),
            ready: reader.ready_file(),
            shared_shim: reader.choice("io.rancher.os.shim", &[("own", false), ("shared", true)]),
            condition: reader.choice(
                "io.rancher.os.condition",
                &[
                    ("network-datasource", Some(Condition::NetworkDatasource)),
                    ("cluster-agent", Some(Condition::ClusterAgent)),
                    ("cluster-server", Some(Condition::ClusterServer)),
                    ("ntp", Some(Condition::Ntp)),
                ],
            ),
            rebuild: reader.choice(
                "io.docker.compose.rebuild",
                &[("always", Rebuild::Always), ("false", Rebuild::Never)],
            ),
            only_by_schedule: createonly && schedule.is_some(),
            schedule,
        }
    }
}

struct Reader<'a> {
    labels: &'a BTreeMap<String, String>,
    wrong: &'a mut Vec<Wrong>,
}

impl<'a> Reader<'a> {
    fn get(&self, label: &str) -> Option<&'a str> {
        self.labels
            .get(label)
            .map(|value| value.trim())
            .filter(|value| !value.is_empty())
    }

    fn complain(&mut self, label: &str, message: String) {
        self.wrong
            .push(Wrong::new(&format!("labels.{label}"), message));
    }

    fn flag(&mut self, label: &str, default: bool) -> bool {
        match self.get(label) {
            None => default,
            Some("true") => true,
            Some("false") => false,
            Some(other) => {
                self.complain(label, format!("expected true or false, given `{other}`"));
                default
            }
        }
    }

    fn choice<T: Copy + Default>(&mut self, label: &str, choices: &[(&str, T)]) -> T {
        let Some(value) = self.get(label) else {
            return T::default();
        };
        if let Some((_, meaning)) = choices.iter().find(|(name, _)| *name == value) {
            return *meaning;
        }
        let known: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        self.complain(
            label,
            format!("expected {}, given `{value}`", known.join(" or ")),
        );
        T::default()
    }

    fn names(&self, label: &str) -> Vec<String> {
        let list = self
            .get(label)
            .unwrap_or_default()
            .split(',')
            .map(str::trim);
        list.filter(|name| !name.is_empty())
            .map(|name| current_name(name).to_owned())
            .collect()
    }

    fn schedule(&mut self) -> Option<Schedule> {
        let label = "cron.schedule";
        match Schedule::parse(self.get(label)?) {
            Ok(schedule) => Some(schedule),
            Err(what) => {
                self.complain(label, what);
                None
            }
        }
    }

    fn ready_file(&mut self) -> Option<PathBuf> {
        let label = "io.rancher.os.ready";
        let path = PathBuf::from(self.get(label)?);
        let plain = path
            .components()
            .all(|part| !matches!(part, std::path::Component::ParentDir));
        if path.starts_with("/run") && plain {
            return Some(path);
        }
        self.complain(
            label,
            format!("expected a file below /run, given `{}`", path.display()),
        );
        None
    }
}

/// Names that services had in RancherOS 1.x.
fn current_name(name: &str) -> &str {
    match name {
        "cloud-init-execute" => "cloud-init",
        "udev-cold" => "udev",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (OsLabels, Vec<Wrong>) {
        let labels = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut wrong = Vec::new();
        (OsLabels::read(&labels, &mut wrong), wrong)
    }

    #[test]
    fn without_labels_a_service_is_the_users_and_a_daemon() {
        let (labels, wrong) = read(&[]);
        assert_eq!(
            (labels.scope, labels.detach, labels.createonly),
            (Scope::User, true, false)
        );
        assert_eq!(wrong, []);
    }

    #[test]
    fn names_are_split_and_old_names_understood() {
        let (labels, _) = read(&[
            ("io.rancher.os.after", " network, cloud-init-execute ,"),
            ("io.rancher.os.before", "udev-cold"),
        ]);
        assert_eq!(labels.after, ["network", "cloud-init"]);
        assert_eq!(labels.before, ["udev"]);
    }

    #[test]
    fn a_schedule_makes_a_template_a_service() {
        let schedule = ("cron.schedule", "@hourly");
        let createonly = ("io.rancher.os.createonly", "true");
        let (both, _) = read(&[schedule, createonly]);
        assert!(both.only_by_schedule && !both.createonly && both.schedule.is_some());
        let (one, _) = read(&[schedule]);
        assert!(!one.only_by_schedule && one.schedule.is_some());
        let (broken, wrong) = read(&[("cron.schedule", "whenever"), createonly]);
        assert!(broken.createonly && !broken.only_by_schedule);
        assert_eq!(wrong[0].key, "labels.cron.schedule");
    }

    #[test]
    fn wrong_values_are_named_and_harmless() {
        let (labels, wrong) = read(&[
            ("io.rancher.os.detach", "nope"),
            ("io.rancher.os.ready", "/etc/passwd"),
            ("io.rancher.os.scope", "x"),
        ]);
        assert_eq!(
            (labels.detach, labels.ready, labels.scope),
            (true, None, Scope::User)
        );
        let keys: Vec<&str> = wrong.iter().map(|wrong| wrong.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "labels.io.rancher.os.scope",
                "labels.io.rancher.os.detach",
                "labels.io.rancher.os.ready"
            ]
        );
    }
}
