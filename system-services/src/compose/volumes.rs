//! Volumes of a service, and the templates (`createonly` services) that `volumes_from` copies.

use bollard::models::{ContainerCreateBody, HostConfig};

/// What one entry of `volumes` mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Volume {
    /// Path on the host or name of a volume; `None`: a volume that belongs to the container alone.
    source: Option<String>,
    target: String,
    options: String,
}

/// One entry of `volumes_from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct From {
    /// Name of a service.
    pub service: String,
    /// Mount what comes from there read-only.
    pub read_only: bool,
}

impl Volume {
    /// `target`, `source:target` or `source:target:options`.
    pub fn read(line: &str) -> Option<Self> {
        let mut parts = line.splitn(3, ':').map(str::to_owned);
        let (first, second) = (parts.next()?, parts.next());
        let options = parts.next().unwrap_or_default();
        let (source, target) = match second {
            Some(target) => (Some(first), target),
            None => (None, first),
        };
        target.starts_with('/').then_some(Self {
            source,
            target,
            options,
        })
    }

    /// As taken over from a template: what would belong to the template's container becomes a named volume, so that it is one volume
    /// for all who take it and outlives them.
    fn taken_from(&self, template: &str, read_only: bool) -> Self {
        let mut copy = self.clone();
        copy.source
            .get_or_insert_with(|| format!("{template}{}", self.target.replace('/', "-")));
        if read_only && !copy.options.split(',').any(|option| option == "ro") {
            copy.options = if copy.options.is_empty() {
                "ro".to_owned()
            } else {
                format!("{},ro", copy.options)
            };
        }
        copy
    }

    fn bind(&self, source: &str) -> String {
        let Volume {
            target, options, ..
        } = self;
        if options.is_empty() {
            format!("{source}:{target}")
        } else {
            format!("{source}:{target}:{options}")
        }
    }
}

impl From {
    /// `service`, `service:ro`, or Compose v2's `container:service`.
    pub fn read(line: &str) -> Self {
        let line = line.strip_prefix("container:").unwrap_or(line);
        let (service, mode) = line.split_once(':').unwrap_or((line, "rw"));
        Self {
            service: service.to_owned(),
            read_only: mode.split(',').any(|option| option == "ro"),
        }
    }

    /// For Docker, once the service's container is known.
    pub fn entry(&self, container: &str) -> String {
        if self.read_only {
            format!("{container}:ro")
        } else {
            container.to_owned()
        }
    }
}

/// Adds what a template carries; a target that is already there stays as it is.
pub(super) fn inherit(
    own: &mut Vec<Volume>,
    template: &str,
    inherited: &[Volume],
    read_only: bool,
) {
    for volume in inherited {
        if !own.iter().any(|mine| mine.target == volume.target) {
            own.push(volume.taken_from(template, read_only));
        }
    }
}

/// Puts the volumes where the Docker API wants them.
pub(super) fn place(volumes: &[Volume], body: &mut ContainerCreateBody, host: &mut HostConfig) {
    let binds = volumes
        .iter()
        .filter_map(|volume| volume.source.as_deref().map(|source| volume.bind(source)));
    let binds: Vec<String> = binds.collect();
    let anonymous: Vec<String> = volumes
        .iter()
        .filter(|volume| volume.source.is_none())
        .map(|volume| volume.target.clone())
        .collect();
    host.binds = (!binds.is_empty()).then_some(binds);
    body.volumes = (!anonymous.is_empty()).then_some(anonymous);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volumes(lines: &[&str]) -> Vec<Volume> {
        lines
            .iter()
            .map(|line| Volume::read(line).unwrap())
            .collect()
    }

    fn binds(volumes: &[Volume]) -> Vec<String> {
        let (mut body, mut host) = (ContainerCreateBody::default(), HostConfig::default());
        place(volumes, &mut body, &mut host);
        host.binds.unwrap_or_default()
    }

    #[test]
    fn a_template_is_copied_and_own_targets_win() {
        let mut own = volumes(&["/mine:/home"]);
        inherit(
            &mut own,
            "user-volumes",
            &volumes(&["/home:/home:rshared", "/opt:/opt:rshared", "/data"]),
            false,
        );
        assert_eq!(
            binds(&own),
            [
                "/mine:/home",
                "/opt:/opt:rshared",
                "user-volumes-data:/data"
            ]
        );
    }

    #[test]
    fn read_only_is_added_once() {
        let mut own = Vec::new();
        inherit(
            &mut own,
            "t",
            &volumes(&["/a:/a:rshared", "/b:/b:ro"]),
            true,
        );
        assert_eq!(binds(&own), ["/a:/a:rshared,ro", "/b:/b:ro"]);
    }

    #[test]
    fn a_relative_target_is_no_volume() {
        assert_eq!(Volume::read("data"), None);
        assert_eq!(
            From::read("all-volumes:ro"),
            From {
                service: "all-volumes".into(),
                read_only: true
            }
        );
    }
}
