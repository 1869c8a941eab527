//! What comes after what: the dependency graph of the project `os`. Pure.
//!
//! A soft edge (a label, an implied order) only delays; a hard edge (`volumes_from`, `links`, `net: container:`) is a container that
//! must exist. A circle loses its last soft edge; one that has none makes its services unusable.

use std::collections::{BTreeMap, BTreeSet};

use crate::compose::{Project, Scope, Service};

/// How strongly one service wants another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strength {
    /// Delays it.
    Soft,
    /// It cannot be made without.
    Hard,
}

/// An order that is asked for and not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The service that asks.
    pub service: String,
    /// What is not kept, as a sentence.
    pub what: String,
}

/// Edges from each service to those that it comes after.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    edges: BTreeMap<String, BTreeMap<String, Strength>>,
    /// Order that could not be kept.
    pub notices: Vec<Notice>,
    /// Services that cannot run, and why.
    pub broken: BTreeMap<String, String>,
}

impl Graph {
    /// From labels, references and implied order.
    #[must_use]
    pub fn new(project: &Project) -> Self {
        let mut graph = Self::default();
        for service in project.runnable() {
            graph.edges.entry(service.name.clone()).or_default();
            graph.add_labels(project, service);
            graph.add_implied(project, service);
            for needed in &service.needs {
                graph.add(&service.name, needed, Strength::Hard);
            }
        }
        graph.break_circles();
        graph
    }

    /// What `service` comes after.
    pub fn after(&self, service: &str) -> impl Iterator<Item = (&str, Strength)> {
        self.edges
            .get(service)
            .into_iter()
            .flatten()
            .map(|(name, strength)| (name.as_str(), *strength))
    }

    /// What comes after `service`.
    pub fn dependents(&self, service: &str) -> impl Iterator<Item = &str> {
        self.edges
            .iter()
            .filter(move |(_, after)| after.contains_key(service))
            .map(|(name, _)| name.as_str())
    }

    /// `service` comes after `other`, directly or through others.
    #[must_use]
    pub fn reaches(&self, service: &str, other: &str) -> bool {
        self.after(service)
            .any(|(next, _)| next == other || self.reaches(next, other))
    }

    fn add(&mut self, from: &str, to: &str, strength: Strength) {
        let edge = self
            .edges
            .entry(from.to_owned())
            .or_default()
            .entry(to.to_owned())
            .or_insert(strength);
        *edge = strength.max(*edge);
    }

    fn add_labels(&mut self, project: &Project, service: &Service) {
        let known = |name: &String| {
            project
                .services
                .get(name)
                .is_some_and(|other| !other.os.createonly)
        };
        for other in &service.os.after {
            if known(other) {
                self.add(&service.name, other, Strength::Soft);
            } else {
                self.notice(service, "after", other);
            }
        }
        for other in &service.os.before {
            if known(other) {
                self.add(other, &service.name, Strength::Soft);
            } else {
                self.notice(service, "before", other);
            }
        }
    }

    fn notice(&mut self, service: &Service, order: &str, other: &str) {
        let name = service.name.clone();
        let what = format!("{name} comes {order} {other}, which does not exist: ignored");
        self.notices.push(Notice {
            service: name,
            what,
        });
    }

    fn add_implied(&mut self, project: &Project, service: &Service) {
        let exists = |name: &str| service.name != name && project.services.contains_key(name);
        if service.log_driver() == Some("syslog") && exists("syslog") {
            self.add(&service.name, "syslog", Strength::Soft);
        }
        if service.os.scope == Scope::User && exists("docker") {
            self.add(&service.name, "docker", Strength::Soft);
        }
    }

    fn break_circles(&mut self) {
        while let Some(circle) = self.find_circle() {
            let pairs: Vec<(String, String)> = circle
                .iter()
                .zip(circle.iter().cycle().skip(1))
                .map(|(from, to)| (from.clone(), to.clone()))
                .collect();
            let soft = pairs
                .iter()
                .rev()
                .find(|(from, to)| self.edges[from].get(to) == Some(&Strength::Soft));
            let path = format!("{} -> {}", circle.join(" -> "), circle[0]);
            if let Some((from, to)) = soft {
                self.notices.push(Notice {
                    service: from.clone(),
                    what: format!("{path} is a circle: {from} does not wait for {to}"),
                });
                self.remove(from, to);
            } else {
                for (from, to) in &pairs {
                    self.broken
                        .insert(from.clone(), format!("{path} is a circle"));
                    self.remove(from, to);
                }
            }
        }
    }

    fn remove(&mut self, from: &str, to: &str) {
        if let Some(after) = self.edges.get_mut(from) {
            after.remove(to);
        }
    }

    fn find_circle(&self) -> Option<Vec<String>> {
        let mut done = BTreeSet::new();
        self.edges
            .keys()
            .find_map(|name| self.walk(name, &mut Vec::new(), &mut done))
    }

    fn walk(
        &self,
        name: &str,
        trail: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Option<Vec<String>> {
        if let Some(start) = trail.iter().position(|seen| seen == name) {
            return Some(trail[start..].to_vec());
        }
        if done.contains(name) {
            return None;
        }
        trail.push(name.to_owned());
        let found = self
            .after(name)
            .find_map(|(next, _)| self.walk(next, trail, done));
        trail.pop();
        done.insert(name.to_owned());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::testing::project;

    fn sentences(graph: &Graph) -> Vec<&str> {
        let notices = graph.notices.iter();
        notices.map(|notice| notice.what.as_str()).collect()
    }

    fn after(graph: &Graph, name: &str) -> Vec<(String, Strength)> {
        graph
            .after(name)
            .map(|(name, strength)| (name.to_owned(), strength))
            .collect()
    }

    #[test]
    fn labels_and_references_become_edges() {
        let graph = Graph::new(&project("
            network: {image: i, labels: {io.rancher.os.scope: system, io.rancher.os.before: ntp}}
            ntp: {image: i, labels: {io.rancher.os.scope: system}}
            side: {image: i, net: 'container:ntp', labels: {io.rancher.os.scope: system, io.rancher.os.after: 'ntp,nobody'}}
        "));
        assert_eq!(
            after(&graph, "ntp"),
            [("network".to_owned(), Strength::Soft)]
        );
        assert_eq!(after(&graph, "side"), [("ntp".to_owned(), Strength::Hard)]);
        assert_eq!(graph.dependents("ntp").collect::<Vec<_>>(), ["side"]);
        assert_eq!(
            sentences(&graph),
            ["side comes after nobody, which does not exist: ignored"]
        );
    }

    #[test]
    fn a_soft_circle_loses_one_edge() {
        let graph = Graph::new(&project(
            "
            aa: {image: i, labels: {io.rancher.os.scope: system, io.rancher.os.after: bb}}
            bb: {image: i, labels: {io.rancher.os.scope: system, io.rancher.os.after: aa}}
        ",
        ));
        assert_eq!(
            sentences(&graph),
            ["aa -> bb -> aa is a circle: bb does not wait for aa"]
        );
        assert_eq!(
            (after(&graph, "aa").len(), after(&graph, "bb").len()),
            (1, 0)
        );
        assert_eq!(graph.broken, BTreeMap::new());
    }

    #[test]
    fn a_hard_circle_is_an_error_for_its_members_only() {
        let graph = Graph::new(&project(
            "
            aa: {image: i, volumes_from: [bb]}
            bb: {image: i, volumes_from: [aa]}
            cc: {image: i}
        ",
        ));
        assert_eq!(graph.broken.keys().collect::<Vec<_>>(), ["aa", "bb"]);
        assert_eq!(graph.broken["aa"], "aa -> bb -> aa is a circle");
    }

    #[test]
    fn order_that_nobody_wrote() {
        let graph = Graph::new(&project(
            "
            docker: {image: i, labels: {io.rancher.os.scope: system}}
            syslog: {image: i, labels: {io.rancher.os.scope: system}}
            web: {image: i, log_driver: syslog}
        ",
        ));
        assert_eq!(
            after(&graph, "web")
                .iter()
                .map(|(name, _)| name.as_str())
                .collect::<Vec<_>>(),
            ["docker", "syslog"]
        );
    }
}
