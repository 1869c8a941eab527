//! The loop's body: observe, plan, hand out steps, take their results. Owns what the manager remembers; decides nothing.

mod wake;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::apply::{self, Context};
use super::cron::Turns;
use super::desired::Desired;
use super::engine::{Engine, SYSTEM_SOCKET, USER_SOCKET};
use super::history::History;
use super::marks::{Event, Mark, write_standing};
use super::observe::{KnownImages, Observed, State, observe};
use super::plan::{Action, Plan, Standing, Step, plan};
use super::preload::Preloader;
use super::processes::Processes;
use super::{LOG, boot_id};
use crate::compose::Scope;
use crate::log::Chain;
use wake::{readiness_changed, watch};

/// While something waits, and no event may tell of what it waits for.
const QUICK_LOOK: Duration = Duration::from_secs(2);
/// When nothing is awaited: events may get lost when a daemon restarts.
const SLOW_LOOK: Duration = Duration::from_secs(10);
/// How long the user's Docker may take to answer before it counts as absent.
const USER_DOCKER_ANSWER: Duration = Duration::from_secs(2);

/// Result of one step.
struct Done {
    step: Step,
    result: Result<(), apply::Error>,
}

/// The manager's memory and its connections.
pub struct Keeper {
    desired: Desired,
    system: Engine,
    user: Option<Engine>,
    history: History,
    images: KnownImages,
    preloader: Preloader,
    /// Of services with a schedule.
    turns: Turns,
    /// Services for which a step is being done.
    busy: BTreeSet<String>,
    tasks: JoinSet<Done>,
    events: Arc<Notify>,
    begun: Instant,
    boot: String,
    /// Of the containers that run.
    processes: Processes,
    /// Readiness files that were there at the last look.
    ready: BTreeSet<PathBuf>,
    /// Services after which the configuration was read again.
    reloaded: BTreeSet<String>,
    /// Services that were started by this process, for the count in the log.
    started: BTreeSet<String>,
    /// Where each service stood at the last look.
    standing: BTreeMap<String, String>,
    /// Lines that are not to be said twice.
    said: BTreeSet<String>,
}

impl Keeper {
    /// Reads the configuration and waits for the system's Docker.
    pub async fn new() -> Self {
        let desired = Desired::load_to_act();
        let system = Engine::wait(SYSTEM_SOCKET, Duration::from_millis(20)).await;
        let events = Arc::new(Notify::new());
        tokio::spawn(watch(system.clone(), Arc::clone(&events)));
        LOG.info("Project [os]: Starting project");
        let mut keeper = Self {
            desired,
            system,
            user: None,
            history: History::default(),
            images: KnownImages::default(),
            preloader: Preloader::new(),
            turns: Turns::read(),
            busy: BTreeSet::new(),
            processes: Processes::default(),
            ready: BTreeSet::new(),
            tasks: JoinSet::new(),
            events,
            begun: Instant::now(),
            boot: boot_id(),
            reloaded: BTreeSet::new(),
            started: BTreeSet::new(),
            standing: BTreeMap::new(),
            said: BTreeSet::new(),
        };
        keeper.report_problems();
        keeper
    }

    /// Reads the configuration again and tries everything at once.
    pub fn reload(&mut self) {
        self.desired = Desired::load_to_act();
        self.history.clear_failures();
        self.images.forget();
        self.preloader.retry();
        // Who asked waits for news.
        self.standing.clear();
        self.report_problems();
    }

    /// One look: hands out every step that can be done. Gives the time until the next look, if nothing happens before.
    pub async fn activate(&mut self) -> Duration {
        self.connect_user().await;
        let mut observed = match observe(
            &self.desired.project,
            &self.system,
            self.user.as_ref(),
            &mut self.images,
            &self.boot,
        )
        .await
        {
            Ok(observed) => observed,
            Err(error) => {
                self.say_once(format!("{error}: trying again until it answers"));
                return Duration::from_millis(250);
            }
        };
        if observed.user.is_none() {
            self.user = None;
        }
        self.preload();
        observed.preloading = self.preloader.pending();
        observed.due = self.turns.due(&self.desired.project, Timestamp::now());
        if Event::Up.is_set() {
            self.processes
                .check(&self.system, &mut observed.system)
                .await;
        }
        let now = self.begun.elapsed();
        self.adopt(&observed);
        self.history.note_exits(&observed, now);
        let plan = plan(&self.desired, &observed, &self.history, &self.busy, now);
        if self.reload_after(&plan) {
            self.reload();
            return Duration::ZERO;
        }
        self.report(&plan);
        for service in &plan.passed {
            self.turns.taken(service, Timestamp::now());
        }
        let pause = self.pause(&plan, now);
        self.ready = observed.ready;
        for step in plan.steps {
            if observed.due.contains(&step.service) {
                self.take_turn(&step);
            }
            self.begin(step);
        }
        pause
    }

    /// Ends when a step is done, Docker says something, or the time is over.
    pub async fn something_happened(&mut self, pause: Duration) {
        let events = Arc::clone(&self.events);
        tokio::select! {
            Some(done) = self.tasks.join_next() => match done {
                Ok(done) => self.finish(done),
                Err(error) => LOG.error(format_args!("a step of the service manager broke off: {error}")),
            },
            Some(()) = self.preloader.finished() => self.images.forget(),
            () = events.notified() => {}
            () = readiness_changed(&self.desired, &self.ready) => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    /// Begins to load what lies there for the Dockers that answer.
    fn preload(&mut self) {
        if Event::Stopping.is_set() {
            return;
        }
        self.preloader.begin(Scope::System, &self.system);
        if let Some(user) = &self.user {
            self.preloader.begin(Scope::User, user);
        }
    }

    /// The user's Docker is asked only for services of the user and to load images, and only once it said that it is ready: a daemon that is starting
    /// takes connections and does not answer.
    async fn connect_user(&mut self) {
        let project = &self.desired.project;
        let wanted = project
            .runnable()
            .any(|service| service.os.scope == Scope::User);
        let wanted = wanted || self.preloader.pending().contains(&Scope::User);
        let ready_file = project
            .services
            .get("docker")
            .and_then(|docker| docker.os.ready.as_ref());
        if self.user.is_some() || !wanted || ready_file.is_some_and(|file| !file.exists()) {
            return;
        }
        if let Ok(Ok(user)) =
            tokio::time::timeout(USER_DOCKER_ANSWER, Engine::connect(USER_SOCKET)).await
        {
            tokio::spawn(watch(user.clone(), Arc::clone(&self.events)));
            self.user = Some(user);
        }
    }

    /// Marks what runs as started: the manager may have been killed between a start and its mark.
    fn adopt(&mut self, observed: &Observed) {
        for (service, container) in &observed.system.containers {
            let marked = observed.marks.ran.get(service) == Some(&container.id);
            if container.state != State::Running || self.busy.contains(service) {
                continue;
            }
            if !marked && Mark::Ran.set(service, &container.id).is_err() {
                self.say_once("cannot write below /run/ros/services".to_owned());
            }
            if self.history.of(service).started.is_none() {
                self.history.started(service, self.begun.elapsed());
            }
        }
    }

    /// True when a service ran after which the configuration is to be read again.
    fn reload_after(&mut self, plan: &Plan) -> bool {
        let before = self.reloaded.len();
        self.reloaded.extend(plan.reload_after.iter().cloned());
        self.reloaded.len() > before
    }

    fn pause(&self, plan: &Plan, now: Duration) -> Duration {
        let waiting = plan
            .standing
            .iter()
            .any(|(_, standing)| matches!(standing, Standing::Waiting(_)));
        let regular = if waiting { QUICK_LOOK } else { SLOW_LOOK };
        let turn = self.turns.pause(&self.desired.project, Timestamp::now());
        let wake = plan.wake.map(|wake| wake.saturating_sub(now));
        let sooner = turn.into_iter().chain(wake).min();
        sooner.map_or(regular, |pause| regular.min(pause))
    }

    /// A turn is taken when it begins: what comes of it changes nothing.
    fn take_turn(&mut self, step: &Step) {
        if matches!(step.action, Action::Start { .. } | Action::Create { .. }) {
            self.history.forget(&step.service);
            self.turns.taken(&step.service, Timestamp::now());
        }
    }

    fn begin(&mut self, step: Step) {
        let Some(service) = self.desired.project.services.get(&step.service).cloned() else {
            return;
        };
        let engine = match service.os.scope {
            Scope::System => Some(self.system.clone()),
            Scope::User => self.user.clone(),
        };
        let Some(engine) = engine else { return };
        match step.action {
            Action::Pull if self.history.of(&service.name).failures > 0 => {}
            Action::Pull => LOG.info(format_args!(
                "Pulling {} ({})...",
                service.name, service.image
            )),
            Action::Prepare { .. } => {}
            Action::Settle { .. } => LOG.warn(&step),
            // Said once, not at each turn.
            Action::Start { .. }
                if service.os.schedule.is_some() && self.started.contains(&service.name) => {}
            _ if self.started.contains(&service.name) => LOG.info(&step),
            _ => LOG.info(format_args!(
                "{} [{}]: Starting",
                self.count(),
                service.name
            )),
        }
        self.busy.insert(service.name.clone());
        let context = Context {
            engine,
            boot: self.boot.clone(),
            credentials: self.desired.credentials.of(&service.image),
        };
        self.tasks.spawn(async move {
            let result = apply::apply(&context, &service, &step).await;
            Done { step, result }
        });
    }

    fn finish(&mut self, done: Done) {
        let Done { step, result } = done;
        let now = self.begun.elapsed();
        self.busy.remove(&step.service);
        if step.action == Action::Pull {
            self.images.forget();
        }
        match result {
            Ok(())
                if matches!(
                    step.action,
                    Action::Pull | Action::Prepare { .. } | Action::Settle { .. }
                ) => {}
            Ok(()) => {
                self.history.started(&step.service, now);
                if self.started.insert(step.service.clone()) {
                    LOG.info(format_args!("{} [{}]: Started", self.count(), step.service));
                }
            }
            Err(apply::Error::GoingDown) => {}
            Err(error) => {
                let text = Chain(&error).to_string();
                let failures = match step.action {
                    Action::Pull => self.history.pull_failed(&step.service, now, text.clone()),
                    _ => self.history.failed(&step.service, now, text.clone()),
                };
                // The first, and then ever fewer.
                if failures.is_power_of_two() {
                    LOG.error(format_args!("Failed Starting {}: {text}", step.service));
                }
            }
        }
    }

    fn count(&self) -> String {
        format!(
            "[{}/{}]",
            self.started.len(),
            self.desired.project.runnable().count()
        )
    }

    fn report(&mut self, plan: &Plan) {
        self.write_standing(plan);
        for (service, standing) in &plan.standing {
            if let Standing::Out(reason) = standing {
                self.say_once(format!("[{service}]: left out: {reason}"));
            }
        }
        if plan.up && self.busy.is_empty() && !Event::Up.is_set() {
            LOG.info("Project [os]: Project started");
            LOG.info(format_args!("RancherOS {} started", self.desired.version));
            if let Err(error) = Event::Up.set() {
                LOG.warn(format_args!(
                    "cannot write below /run/ros/services: {error}"
                ));
            }
        }
    }

    fn write_standing(&mut self, plan: &Plan) {
        let steps = plan
            .steps
            .iter()
            .map(|step| (step.service.clone(), step.to_string()));
        let standing = plan
            .standing
            .iter()
            .map(|(service, standing)| (service.clone(), standing.to_string()));
        let now: BTreeMap<String, String> = steps.chain(standing).collect();
        if now != self.standing {
            if let Err(error) = write_standing(&now) {
                self.say_once(format!("cannot write below /run/ros/services: {error}"));
            }
            self.standing = now;
        }
    }

    fn report_problems(&mut self) {
        let problems: Vec<String> = self
            .desired
            .project
            .problems
            .iter()
            .map(ToString::to_string)
            .collect();
        let broken = self
            .desired
            .graph
            .broken
            .iter()
            .map(|(service, reason)| format!("Failed loading service {service}: {reason}"));
        let notices = self.desired.graph.notices.iter();
        let notices = notices.map(|notice| notice.what.clone());
        let lines: Vec<String> = problems
            .into_iter()
            .chain(self.desired.bad_includes.iter().map(ToString::to_string))
            .chain(broken)
            .chain(notices)
            .collect();
        lines.into_iter().for_each(|line| self.say_once(line));
    }

    fn say_once(&mut self, line: String) {
        if self.said.insert(line.clone()) {
            LOG.warn(line);
        }
    }
}
