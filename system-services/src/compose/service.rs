//! One service: its Compose keys read into the body that Docker's "create container" takes, and what the manager needs to know.

use std::collections::BTreeMap;
use std::path::Path;

use bollard::models::{ContainerCreateBody, HostConfig, RestartPolicy, RestartPolicyNameEnum};
use serde_json::Value;

use super::labels::{OsLabels, Scope};
use super::problem::{Problem, Severity, Wrong};
use super::project::Sources;
use super::values::{Pair, pairs, text, texts};
use super::volumes::{From, Volume};
use super::{container, host};

/// `io.containerd.runc.v2.group`: containers of one group are served by one shim process (containerd, runtime v2).
const SHIM_GROUP: (&str, &str) = ("io.containerd.runc.v2.group", "ros-system");

/// What happens when the container has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Restart {
    /// Nothing.
    #[default]
    No,
    /// It is started again, until it is stopped on purpose.
    Always,
    /// As `Always`.
    UnlessStopped,
    /// It is started again when it failed, at most so many times; `None`: no limit.
    OnFailure(Option<u32>),
}

impl Restart {
    /// As Docker takes it (Docker API, `HostConfig.RestartPolicy`).
    fn policy(self) -> RestartPolicy {
        let (name, limit) = match self {
            Self::No => (RestartPolicyNameEnum::NO, None),
            Self::Always => (RestartPolicyNameEnum::ALWAYS, None),
            Self::UnlessStopped => (RestartPolicyNameEnum::UNLESS_STOPPED, None),
            Self::OnFailure(limit) => (RestartPolicyNameEnum::ON_FAILURE, limit.map(i64::from)),
        };
        RestartPolicy {
            name: Some(name),
            maximum_retry_count: limit,
        }
    }
}

/// One service, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Name under `rancher.services`.
    pub name: String,
    /// Name of its container: `container_name`, or the service's.
    pub container_name: String,
    /// Image reference; not empty.
    pub image: String,
    /// The labels that steer the manager.
    pub os: OsLabels,
    /// `restart`
    pub restart: Restart,
    /// Services without whose container this one cannot be made.
    pub needs: Vec<String>,
    /// For Docker's "create container"; complete once the project is linked.
    pub body: ContainerCreateBody,
    pub(super) volumes: Vec<Volume>,
    pub(super) volumes_from: Vec<From>,
    pub(super) links: Vec<(String, String)>,
}

impl Service {
    /// Hash of the definition, as the container's label says it.
    #[must_use]
    pub fn hash(&self) -> &str {
        self.body
            .labels
            .as_ref()
            .and_then(|labels| labels.get(super::HASH_LABEL))
            .map_or("", String::as_str)
    }

    /// `log_driver`, when given.
    #[must_use]
    pub fn log_driver(&self) -> Option<&str> {
        self.body
            .host_config
            .as_ref()?
            .log_config
            .as_ref()?
            .typ
            .as_deref()
    }
}

/// Reads one definition. Wrong labels and unknown keys are reported and left out; anything else that is wrong skips the service.
pub(super) fn read(
    name: &str,
    definition: &Value,
    sources: &Sources<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Service> {
    if !is_container_name(name) {
        problems.push(Wrong::new("", "a name is two or more of letters, digits, `_`, `.` and `-`, and starts with a letter or digit").of(name, Severity::Skipped));
        return None;
    }
    let mut definition = definition.clone();
    let mut unknown = Vec::new();
    sources
        .variables
        .substitute(name, &mut definition, &mut unknown);
    problems.extend(unknown.into_iter().map(|variable| {
        Wrong::new(
            "",
            format!("the variable {variable} is not in rancher.environment: taken as empty"),
        )
        .of(name, Severity::Ignored)
    }));
    let mut draft = Draft {
        name,
        sources,
        environment: Vec::new(),
        labels: BTreeMap::new(),
        host: HostConfig::default(),
        service: empty(name),
    };
    match draft.read(&definition) {
        Ok(ignored) => problems.extend(
            ignored
                .into_iter()
                .map(|wrong| wrong.of(name, Severity::Ignored)),
        ),
        Err(wrong) => {
            problems.push(wrong.of(name, Severity::Skipped));
            return None;
        }
    }
    Some(draft.finish(problems))
}

/// `ros entrypoint`, which has to know whose files of `write_files` it writes.
fn is_our_entrypoint(entrypoint: Option<&[String]>) -> bool {
    matches!(entrypoint, Some([ros, word, ..]) if word == "entrypoint" && (ros == "ros" || ros.ends_with("/ros")))
}

/// Docker's rule for container names; service names are container names, and names of files.
fn is_container_name(name: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '-');
    name.len() > 1
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.chars().all(plain)
}

fn empty(name: &str) -> Service {
    Service {
        name: name.to_owned(),
        container_name: name.to_owned(),
        image: String::new(),
        os: OsLabels::read(&BTreeMap::new(), &mut Vec::new()),
        restart: Restart::No,
        needs: Vec::new(),
        body: ContainerCreateBody::default(),
        volumes: Vec::new(),
        volumes_from: Vec::new(),
        links: Vec::new(),
    }
}

struct Draft<'a> {
    name: &'a str,
    sources: &'a Sources<'a>,
    environment: Vec<Pair>,
    labels: BTreeMap<String, String>,
    host: HostConfig,
    service: Service,
}

impl Draft<'_> {
    fn read(&mut self, definition: &Value) -> Result<Vec<Wrong>, Wrong> {
        let Value::Object(keys) = definition else {
            return Err(Wrong::new("", "expected a map with at least `image`"));
        };
        let mut ignored = Vec::new();
        // Values of env_file come first, so that `environment` wins whatever the order in the file.
        if let Some(files) = keys.get("env_file") {
            self.env_files(files)?;
        }
        for (key, value) in keys.iter().filter(|(key, _)| key.as_str() != "env_file") {
            let known = container::take(&mut self.service.body, key, value)?
                || host::take(&mut self.host, key, value)?
                || self.take(key, value)?;
            if !known {
                ignored.push(Wrong::new(key, "unknown key: ignored"));
            }
        }
        match &self.service.body.image {
            Some(image) => self.service.image.clone_from(image),
            None if keys.contains_key("build") => {
                return Err(Wrong::new(
                    "build",
                    "images are not built here: name one with `image`",
                ));
            }
            None => return Err(Wrong::new("image", "missing")),
        }
        self.service.os = OsLabels::read(&self.labels, &mut ignored);
        Ok(ignored)
    }

    /// Keys about this service among others.
    fn take(&mut self, key: &str, value: &Value) -> Result<bool, Wrong> {
        match key {
            "environment" => self.environment.extend(container::environment(key, value)?),
            "labels" => self.labels = labels(key, value)?,
            "restart" => self.service.restart = restart(key, &text(key, value)?)?,
            "container_name" => self.service.container_name = text(key, value)?,
            "volumes" => self.service.volumes = volumes(key, value)?,
            "volumes_from" => {
                self.service.volumes_from = texts(key, value)?
                    .iter()
                    .map(|line| From::read(line))
                    .collect()
            }
            "links" | "external_links" => self.service.links.extend(links(key, value)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn env_files(&mut self, files: &Value) -> Result<(), Wrong> {
        for path in texts("env_file", files)? {
            let content = (self.sources.read_file)(Path::new(&path));
            let content = content
                .map_err(|error| Wrong::new("env_file", format!("cannot read {path}: {error}")))?;
            self.environment.extend(container::env_file(&content));
        }
        Ok(())
    }

    fn finish(mut self, problems: &mut Vec<Problem>) -> Service {
        let mut environment = self.expanded_environment();
        let Service {
            body,
            os,
            links,
            restart,
            ..
        } = &mut self.service;
        if is_our_entrypoint(body.entrypoint.as_deref()) {
            environment.push(format!("{}={}", crate::entrypoint::SERVICE, self.name));
        }
        body.env = (!environment.is_empty()).then_some(environment);
        body.labels = Some(self.labels.into_iter().collect());
        if os.shared_shim {
            self.host
                .annotations
                .get_or_insert_default()
                .insert(SHIM_GROUP.0.to_owned(), SHIM_GROUP.1.to_owned());
        }
        if let Some(ports) = &self.host.port_bindings {
            body.exposed_ports
                .get_or_insert_default()
                .extend(ports.keys().cloned());
        }
        if let Some(ports) = &mut body.exposed_ports {
            ports.sort();
            ports.dedup();
        }
        if os.createonly && !links.is_empty() {
            problems.push(
                Wrong::new("links", "a createonly service is never started: ignored")
                    .of(self.name, Severity::Ignored),
            );
            links.clear();
        }
        if os.scope == Scope::User {
            // The user's Docker restarts them itself, as it does containers that were started by hand.
            self.host.restart_policy = Some(restart.policy());
        }
        body.host_config = Some(self.host);
        self.service
    }

    /// `NAME=value` lines, the last of each name winning; bare names looked up.
    fn expanded_environment(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for (name, value) in &self.environment {
            let lines = match value {
                Some(value) => vec![format!("{name}={value}")],
                None => self.sources.variables.expand_name(self.name, name),
            };
            for line in lines {
                let key = line.split('=').next().unwrap_or_default();
                all.retain(|other| other.split('=').next() != Some(key));
                all.push(line);
            }
        }
        all
    }
}

fn labels(key: &str, value: &Value) -> Result<BTreeMap<String, String>, Wrong> {
    Ok(pairs(key, value, '=')?
        .into_iter()
        .map(|(name, value)| (name, value.unwrap_or_default()))
        .collect())
}

fn restart(key: &str, given: &str) -> Result<Restart, Wrong> {
    let (word, limit) = given.split_once(':').unwrap_or((given, ""));
    match (word, limit) {
        ("no" | "false" | "", "") => Ok(Restart::No),
        ("always", "") => Ok(Restart::Always),
        ("unless-stopped", "") => Ok(Restart::UnlessStopped),
        ("on-failure", "") => Ok(Restart::OnFailure(None)),
        ("on-failure", limit) => {
            let limit = limit.parse().map_err(|_| {
                Wrong::new(
                    key,
                    format!("expected on-failure:<number>, given `{given}`"),
                )
            })?;
            Ok(Restart::OnFailure(Some(limit)))
        }
        _ => Err(Wrong::new(
            key,
            format!("expected no, always, on-failure or unless-stopped, given `{given}`"),
        )),
    }
}

fn volumes(key: &str, value: &Value) -> Result<Vec<Volume>, Wrong> {
    let lines = texts(key, value)?;
    let read = lines.iter().enumerate().map(|(index, line)| {
        Volume::read(line).ok_or_else(|| {
            Wrong::new(
                &format!("{key}[{index}]"),
                format!("expected [source:]/path[:options], given `{line}`"),
            )
        })
    });
    read.collect()
}

fn links(key: &str, value: &Value) -> Result<Vec<(String, String)>, Wrong> {
    let pairs = pairs(key, value, ':')?;
    Ok(pairs
        .into_iter()
        .map(|(name, alias)| (name.clone(), alias.unwrap_or(name)))
        .collect())
}
