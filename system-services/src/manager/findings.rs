//! What is wrong with the definitions of services, each with its place in the files: `ros config validate`.

use os_config::node::Node;
use os_config::problem::Position;
use os_config::{Loaded, Problem, Severity, path};

use super::desired::Desired;
use crate::compose;

/// Mistakes in service definitions and in what they say of one another. What makes a service unusable is an error.
#[must_use]
pub fn findings(loaded: &Loaded) -> Vec<Problem> {
    let desired = Desired::new(loaded);
    let places = Places {
        tree: &loaded.tree,
        desired: &desired,
    };
    let definitions = desired.project.problems.iter().map(|problem| {
        let severity = match problem.severity {
            compose::Severity::Skipped => Severity::Error,
            compose::Severity::Ignored => Severity::Warning,
        };
        places.finding(severity, &problem.service, &problem.key, &problem.message)
    });
    let broken = desired
        .graph
        .broken
        .iter()
        .map(|(service, reason)| places.finding(Severity::Error, service, "", reason));
    let order =
        desired.graph.notices.iter().map(|notice| {
            places.finding(Severity::Warning, &notice.service, "labels", &notice.what)
        });
    let includes = desired.bad_includes.iter().map(|include| {
        let key = ["rancher", "services_include", &include.name].map(str::to_owned);
        let place = path::find(&loaded.tree, &key).map(|node| node.position.clone());
        Problem::new(
            Severity::Error,
            &place.unwrap_or_default(),
            &key.join("."),
            &include.what,
        )
    });
    definitions
        .chain(broken)
        .chain(order)
        .chain(includes)
        .collect()
}

struct Places<'a> {
    tree: &'a Node,
    desired: &'a Desired,
}

impl Places<'_> {
    fn finding(&self, severity: Severity, service: &str, key: &str, what: &str) -> Problem {
        let dot = if key.is_empty() { "" } else { "." };
        let name = format!("rancher.services.{service}{dot}{key}");
        Problem::new(severity, &self.position(service, key), &name, what)
    }

    /// Of the value itself, else of what it was expected in.
    fn position(&self, service: &str, key: &str) -> Position {
        let own = ["rancher", "services", service].map(str::to_owned);
        let definition = self
            .desired
            .included
            .get(service)
            .or_else(|| path::find(self.tree, &own));
        let Some(definition) = definition else {
            return Position::default();
        };
        let segments: Vec<String> = key
            .replace('[', ".")
            .replace(']', "")
            .split('.')
            .filter(|segment| !segment.is_empty())
            .map(str::to_owned)
            .collect();
        (0..=segments.len())
            .rev()
            .find_map(|count| path::find(definition, &segments[..count]))
            .map(|node| node.position.clone())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use os_config::layers::{Layers, Owner};

    const TEXT: &str = "\
rancher:
  services_include:
    absent: true
  services:
    one:
      image: i
      ports:
      - 80:80
      - 80:eighty
    two:
      image: i
      imag: i
    three:
      image: i
      labels:
        io.rancher.os.after: nobody
        cron.schedule: 60 * * * * *
";

    const SCHEDULE: &str = "Warning c.yml:17:24: rancher.services.three.labels.cron.schedule: `60 * * * * *` is no schedule: Component error: Number out of bounds; expected `second minute hour day month weekday` such as `0 30 4 * * *`, or @hourly, @daily, @weekly, @monthly, @yearly, or `@every 1h30m`";

    #[test]
    fn each_finding_has_its_place() {
        let mut layers = Layers::default();
        layers.add_file(Owner::User, TEXT.as_bytes(), "c.yml");
        let found: Vec<String> = findings(&layers.resolve())
            .iter()
            .map(|problem| format!("{:?} {problem}", problem.severity))
            .collect();
        assert_eq!(
            found,
            [
                "Error c.yml:9:9: rancher.services.one.ports[1]: expected [[address:]host port:]container port, given `80:eighty`",
                "Warning c.yml:12:13: rancher.services.two.imag: unknown key: ignored",
                SCHEDULE,
                "Warning c.yml:16:9: rancher.services.three.labels: three comes after nobody, which does not exist: ignored",
                "Error c.yml:3:13: rancher.services_include.absent: there is no such service; give a file below /var/lib/rancher/conf, or define it under rancher.services",
            ]
        );
    }
}
