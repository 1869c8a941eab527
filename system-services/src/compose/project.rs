//! The project `os`: all services of the configuration, templates inlined, references between services resolved.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use bollard::models::HostConfig;
use indexmap::IndexMap;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::problem::{Problem, Severity, Wrong};
use super::service::{self, Service};
use super::variables::Variables;
use super::volumes::{self, Volume};
use super::{HASH_LABEL, SERVICE_LABEL};

/// Where definitions get what is not in them.
pub struct Sources<'a> {
    /// Meaning of `${NAME}`.
    pub variables: &'a Variables,
    /// Reads an `env_file`.
    pub read_file: &'a dyn Fn(&Path) -> std::io::Result<String>,
}

/// Every service that can run, in the order of the configuration, and what was wrong with the others.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Project {
    /// By name; templates included.
    pub services: IndexMap<String, Service>,
    /// All at once, for the log and `ros config validate`.
    pub problems: Vec<Problem>,
}

impl Project {
    /// Reads all definitions.
    #[must_use]
    pub fn read<'v>(
        definitions: impl IntoIterator<Item = (&'v str, &'v Value)>,
        sources: &Sources<'_>,
    ) -> Self {
        let mut project = Self::default();
        for (name, definition) in definitions {
            if let Some(service) = service::read(name, definition, sources, &mut project.problems) {
                project.services.insert(name.to_owned(), service);
            }
        }
        project.link();
        project
    }

    /// Services that are to run: all but the templates.
    pub fn runnable(&self) -> impl Iterator<Item = &Service> {
        self.services
            .values()
            .filter(|service| !service.os.createonly)
    }

    fn link(&mut self) {
        let templates = self.templates();
        let containers: HashMap<String, String> = self
            .services
            .values()
            .map(|service| (service.name.clone(), service.container_name.clone()))
            .collect();
        let mut broken = Vec::new();
        for service in self.services.values_mut() {
            let linked = Linker {
                templates: &templates,
                containers: &containers,
            }
            .link(service);
            if let Err(wrong) = linked {
                broken.push(wrong.of(&service.name, Severity::Skipped));
            }
        }
        for problem in broken {
            self.services.shift_remove(&problem.service);
            self.problems.push(problem);
        }
    }

    /// Each template's volumes, with those it takes from others.
    fn templates(&mut self) -> HashMap<String, Vec<Volume>> {
        let names: Vec<String> = self
            .services
            .values()
            .filter(|service| service.os.createonly)
            .map(|s| s.name.clone())
            .collect();
        let mut all = HashMap::new();
        for name in names {
            let mut trail = Vec::new();
            let volumes = self.template(&name, &mut trail);
            all.insert(name, volumes);
        }
        all
    }

    fn template(&mut self, name: &str, trail: &mut Vec<String>) -> Vec<Volume> {
        let Some(service) = self
            .services
            .get(name)
            .filter(|service| service.os.createonly)
        else {
            return Vec::new();
        };
        if trail.iter().any(|seen| seen == name) {
            let circle = Wrong::new(
                "volumes_from",
                format!("{} -> {name} is a circle: ignored", trail.join(" -> ")),
            );
            self.problems.push(circle.of(name, Severity::Ignored));
            return Vec::new();
        }
        let (mut volumes, from) = (service.volumes.clone(), service.volumes_from.clone());
        trail.push(name.to_owned());
        for entry in from {
            let inherited = self.template(&entry.service, trail);
            volumes::inherit(&mut volumes, &entry.service, &inherited, entry.read_only);
        }
        trail.pop();
        volumes
    }
}

struct Linker<'a> {
    templates: &'a HashMap<String, Vec<Volume>>,
    containers: &'a HashMap<String, String>,
}

impl Linker<'_> {
    fn link(&self, service: &mut Service) -> Result<(), Wrong> {
        let mut host = service.body.host_config.take().unwrap_or_default();
        self.volumes_from(service, &mut host)?;
        self.links(service, &mut host)?;
        for (key, mode) in [
            ("net", &mut host.network_mode),
            ("pid", &mut host.pid_mode),
            ("ipc", &mut host.ipc_mode),
        ] {
            self.namespace_of(key, mode, &mut service.needs)?;
        }
        let all = service.volumes.clone();
        volumes::place(&all, &mut service.body, &mut host);
        service.body.host_config = Some(host);
        let hash = hash(service);
        let labels = service.body.labels.get_or_insert_default();
        labels.insert(SERVICE_LABEL.to_owned(), service.name.clone());
        labels.insert(HASH_LABEL.to_owned(), hash);
        Ok(())
    }

    fn container(&self, key: &str, service: &str) -> Result<String, Wrong> {
        let missing = || Wrong::new(key, format!("there is no service `{service}`"));
        self.containers.get(service).cloned().ok_or_else(missing)
    }

    fn volumes_from(&self, service: &mut Service, host: &mut HostConfig) -> Result<(), Wrong> {
        for entry in service.volumes_from.clone() {
            if let Some(inherited) = self.templates.get(&entry.service) {
                volumes::inherit(
                    &mut service.volumes,
                    &entry.service,
                    inherited,
                    entry.read_only,
                );
            } else {
                let container = self.container("volumes_from", &entry.service)?;
                host.volumes_from
                    .get_or_insert_default()
                    .push(entry.entry(&container));
                service.needs.push(entry.service);
            }
        }
        Ok(())
    }

    fn links(&self, service: &mut Service, host: &mut HostConfig) -> Result<(), Wrong> {
        for (target, alias) in service.links.clone() {
            let container = self.container("links", &target)?;
            host.links
                .get_or_insert_default()
                .push(format!("{container}:{alias}"));
            service.needs.push(target);
        }
        Ok(())
    }

    /// `container:<service>` becomes the name of that service's container; other containers are left as they are named.
    fn namespace_of(
        &self,
        key: &str,
        mode: &mut Option<String>,
        needs: &mut Vec<String>,
    ) -> Result<(), Wrong> {
        let Some(target) = mode
            .as_deref()
            .and_then(|mode| mode.strip_prefix("container:"))
        else {
            return Ok(());
        };
        if self.templates.contains_key(target) {
            return Err(Wrong::new(
                key,
                format!("`{target}` is createonly and never runs"),
            ));
        }
        if let Some(container) = self.containers.get(target) {
            needs.push(target.to_owned());
            *mode = Some(format!("container:{container}"));
        }
        Ok(())
    }
}

/// Of everything that Docker is told, with the keys of maps in order, so that it is the same in every run.
fn hash(service: &Service) -> String {
    let body = serde_json::to_value(&service.body).unwrap_or_default();
    let text = format!(
        "{}\n{:?}\n{}",
        service.container_name,
        service.restart,
        canonical(&body)
    );
    Sha256::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, String> = map
                .iter()
                .map(|(name, value)| (name, canonical(value)))
                .collect();
            format!("{sorted:?}")
        }
        Value::Array(items) => format!("{:?}", items.iter().map(canonical).collect::<Vec<_>>()),
        scalar => scalar.to_string(),
    }
}

#[cfg(test)]
mod tests;
