//! `ros service-manager stop-all`, which PID 1 runs before it kills anything: stops every container, gently and in order.
//!
//! Containers that are not ours come first, then the user's Docker: it stops its containers itself, so that those with a restart policy
//! come back at the next boot. Then the other services, each after what depends on it, the console last. What does not stop in time is
//! left to PID 1.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use bollard::query_parameters::{ListContainersOptions, StopContainerOptions};
use tokio::task::JoinSet;

use super::desired::Desired;
use super::engine::{self, Engine, SYSTEM_SOCKET, is_done, is_missing};
use super::graph::Graph;
use super::marks::Event;
use super::{Error, LOG, setup};
use crate::compose::SERVICE_LABEL;
use crate::docker;
use crate::log::Chain;

/// Seconds that a container has between its stop signal and SIGKILL.
const GRACE: i32 = 5;
/// The user's Docker first stops its containers, which have ten seconds by default.
const USER_DOCKER_GRACE: i32 = 25;
/// A daemon that does not answer by then has nothing to stop.
const ANSWER: Duration = Duration::from_secs(3);
const USER_DOCKER: &str = "docker";
const CONSOLE: &str = "console";

/// Stops everything; says what it does.
pub fn stop_all() -> Result<(), Error> {
    Event::Stopping
        .set()
        .map_err(setup("write below /run/ros/services"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(setup("start"))?;
    runtime.block_on(async {
        let Ok(Ok(system)) = tokio::time::timeout(ANSWER, Engine::connect(SYSTEM_SOCKET)).await
        else {
            LOG.warn("system-docker does not answer: its containers are left to init");
            return;
        };
        docker::prepare_stop().await;
        let graph = Desired::load().graph;
        // Twice: the manager may have been in the middle of a start.
        for _ in 0..2 {
            match running(&system).await {
                Ok(running) => stop_in_order(&system, running, &graph).await,
                Err(error) => LOG.failure(&error),
            }
        }
    });
    Ok(())
}

/// A running container: its id, and its service if it is one of ours.
type Running = Vec<(String, Option<String>)>;

async fn running(engine: &Engine) -> Result<Running, engine::Error> {
    let filters = HashMap::from([("status".to_owned(), vec!["running".to_owned()])]);
    let options = ListContainersOptions {
        filters: Some(filters),
        ..Default::default()
    };
    let listed = engine
        .docker
        .list_containers(Some(options))
        .await
        .map_err(|source| engine.error("list containers", source))?;
    let with_id = listed.into_iter().filter_map(|container| {
        let service = container
            .labels
            .and_then(|labels| labels.get(SERVICE_LABEL).cloned());
        container.id.map(|id| (id, service))
    });
    Ok(with_id.collect())
}

async fn stop_in_order(system: &Engine, running: Running, graph: &Graph) {
    let mut foreign = JoinSet::new();
    let mut services = BTreeMap::new();
    for (id, service) in running {
        match service {
            Some(service) => {
                services.insert(service, id);
            }
            None => {
                foreign.spawn(stop(system.clone(), id.clone(), id));
            }
        }
    }
    foreign.join_all().await;
    stop_services(system, services, graph).await;
}

/// Everything that nothing running depends on is stopped at once; each end may release others.
async fn stop_services(system: &Engine, mut left: BTreeMap<String, String>, graph: &Graph) {
    let mut stopping: BTreeSet<String> = BTreeSet::new();
    let mut tasks = JoinSet::new();
    loop {
        for service in next_to_stop(&left, &stopping, graph) {
            LOG.info(format_args!("Stopping {service}"));
            let id = left.get(&service).cloned().unwrap_or_default();
            tasks.spawn(stop(system.clone(), id, service.clone()));
            stopping.insert(service);
        }
        match tasks.join_next().await {
            Some(Ok(service)) => {
                left.remove(&service);
                stopping.remove(&service);
            }
            Some(Err(_)) => {}
            None => return,
        }
    }
}

/// The user's Docker is first: its containers may need everything else to end well.
fn next_to_stop(
    left: &BTreeMap<String, String>,
    stopping: &BTreeSet<String>,
    graph: &Graph,
) -> Vec<String> {
    let users = left.contains_key(USER_DOCKER);
    let free = |service: &&String| {
        let needed = graph
            .dependents(service)
            .any(|other| other != CONSOLE && left.contains_key(other));
        let turn = match service.as_str() {
            USER_DOCKER => !needed,
            CONSOLE => left.len() == 1,
            _ => !needed && (!users || graph.reaches(service, USER_DOCKER)),
        };
        turn && !stopping.contains(*service)
    };
    left.keys().filter(free).cloned().collect()
}

async fn stop(engine: Engine, id: String, name: String) -> String {
    let grace = if name == USER_DOCKER {
        USER_DOCKER_GRACE
    } else {
        GRACE
    };
    let options = StopContainerOptions {
        t: Some(grace),
        ..Default::default()
    };
    match engine.docker.stop_container(&id, Some(options)).await {
        Err(error) if !is_done(&error) && !is_missing(&error) => {
            LOG.error(Chain(&engine.error(format!("stop {name}"), error)))
        }
        _ => {}
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::testing::project;

    #[test]
    fn dependents_stop_first_and_the_console_last() {
        let graph = Graph::new(&project(
            "
            network: {image: i, labels: {io.rancher.os.scope: system}}
            ntp: {image: i, labels: {io.rancher.os.scope: system, io.rancher.os.after: network}}
            syslog: {image: i, labels: {io.rancher.os.scope: system}}
            docker: {image: i, labels: {io.rancher.os.scope: system}}
            agent: {image: i, labels: {io.rancher.os.scope: system, io.rancher.os.after: docker}}
            helper: {image: i, labels: {io.rancher.os.scope: system, io.rancher.os.after: agent}}
            console: {image: i, labels: {io.rancher.os.scope: system, io.rancher.os.after: network}}
        ",
        ));
        let mut left: BTreeMap<String, String> = [
            "network", "ntp", "syslog", "docker", "agent", "helper", "console",
        ]
        .map(|name| (name.to_owned(), format!("{name}-id")))
        .into();
        let mut order = Vec::new();
        while !left.is_empty() {
            let next = next_to_stop(&left, &BTreeSet::new(), &graph);
            assert!(!next.is_empty(), "nothing can be stopped of {left:?}");
            left.retain(|service, _| !next.contains(service));
            order.push(next);
        }
        assert_eq!(
            order,
            [
                vec!["helper"],
                vec!["agent"],
                vec!["docker"],
                vec!["ntp", "syslog"],
                vec!["network"],
                vec!["console"]
            ]
        );
    }
}
