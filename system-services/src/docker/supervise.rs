//! `ros docker-init`: prepares, runs the user's dockerd, says when it answers, and starts it again when it dies.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use os_config::Config;
use os_config::effects::Reader;
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use super::settings::{DEFAULT_CONFIG, Settings};
use super::{CONFIG_FILE, Error, LOG, PID_FILE, ping, promises, setup, tls};
use crate::applied;
use crate::files::{make_directory, write_atomically};
use crate::manager::USER_SOCKET;

/// Written when the daemon answers.
const DONE: &str = "/run/docker-done";
const DAEMON_LOG: &str = "/var/log/docker.log";
/// Bytes after which the log is begun anew, at the next start of the daemon.
const LOG_LIMIT: u64 = 10 << 20;
/// Sets `$DOCKER_OPTS`; written by provisioning tools.
const OPTIONS_FILE: &str = "/var/lib/rancher/conf/docker";
/// dockerd's own default, as its unit file sets it.
const OPEN_FILES: u64 = 1_048_576;
/// Starts in a row that end before the daemon answers: the manager is told by our end.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const PROBE: Duration = Duration::from_millis(20);

/// Runs until SIGTERM, or until the daemon cannot be started.
pub fn run() -> Result<(), Error> {
    let loaded = os_config::store::load_running();
    applied::note(LOG, Reader::Docker, &loaded);
    let config = loaded.config;
    promises::wait(&config);
    prepare(&config);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(setup("start"))?;
    // In the runtime: signals are listened to from the first moment.
    runtime.block_on(async { Supervisor::new(&config)?.run().await })
}

/// What the daemon needs from its surroundings. Failures are logged: the daemon itself says more when it minds.
fn prepare(config: &Config) {
    let note = |what: &str, result: std::io::Result<()>| {
        if let Err(error) = result {
            LOG.warn(format_args!("cannot {what}: {error}"));
        }
    };
    // Volumes may be mounted with propagation, for which Docker wants every mount above them to be shared.
    let shared = rustix::mount::mount_change(
        "/",
        rustix::mount::MountPropagationFlags::SHARED | rustix::mount::MountPropagationFlags::REC,
    );
    note("share the mounts", shared.map_err(Into::into));
    // Where the hard limit may not be raised the daemon lives with what it has.
    setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES).ok();
    note(
        "write the certificates below /etc/docker/tls",
        tls::write(&config.rancher.docker),
    );
    note(
        "make /run/ros/docker",
        make_directory(Path::new("/run/ros/docker"), 0o700),
    );
}

struct Supervisor {
    settings: Settings,
    environment: Vec<(String, String)>,
    terminate: Stream,
    hangup: Stream,
}

enum Ended {
    /// We were asked to stop, and it stopped.
    OnRequest,
    /// By itself; whether it had answered before.
    ByItself { answered: bool },
}

impl Supervisor {
    fn new(config: &Config) -> Result<Self, Error> {
        let block = &config.rancher.docker;
        let path = block
            .config_file
            .as_deref()
            .filter(|path| !path.is_empty())
            .unwrap_or(DEFAULT_CONFIG);
        let user_config = std::fs::read_to_string(path).ok();
        let settings = Settings::new(
            block,
            user_config.as_deref(),
            options(Path::new(OPTIONS_FILE)),
        );
        if let Some(problem) = &settings.problem {
            LOG.error(format_args!("{path} is left out: {problem}"));
        }
        let text = Value::Object(settings.config.clone()).to_string();
        write_atomically(Path::new(CONFIG_FILE), text.as_bytes(), 0o600)
            .map_err(setup("write /run/ros/docker/daemon.json"))?;
        Ok(Self {
            settings,
            environment: environment(config),
            // Before the first start: a signal that comes earlier would end us and leave the daemon.
            terminate: tokio_signal(SignalKind::terminate())?,
            hangup: tokio_signal(SignalKind::hangup())?,
        })
    }

    async fn run(mut self) -> Result<(), Error> {
        let mut failures = 0;
        loop {
            match self.run_once().await? {
                Ended::OnRequest => return Ok(()),
                Ended::ByItself { answered: true } => failures = 0,
                Ended::ByItself { answered: false } => failures += 1,
            }
            if failures >= ATTEMPTS {
                return Err(Error::DoesNotStart {
                    attempts: failures,
                    last_line: last_line(Path::new(DAEMON_LOG)),
                });
            }
            tokio::time::sleep(FIRST_PAUSE * (1 << failures)).await;
        }
    }

    async fn run_once(&mut self) -> Result<Ended, Error> {
        remove_stale_pid_file();
        let begun = Instant::now();
        let mut daemon = self.spawn()?;
        let mut answered = false;
        let ended = loop {
            tokio::select! {
                ended = daemon.wait() => break ended,
                _ = self.terminate.recv() => {
                    self.stop(&mut daemon).await;
                    return Ok(Ended::OnRequest);
                }
                _ = self.hangup.recv() => send(&daemon, Signal::SIGHUP),
                () = tokio::time::sleep(PROBE), if !answered => {
                    // In a thread: a daemon that is starting may let the question wait.
                    answered = tokio::task::spawn_blocking(|| ping::answers(USER_SOCKET)).await.unwrap_or(false);
                    if answered {
                        announce(begun);
                    }
                }
            }
        };
        let withdrawn = std::fs::remove_file(DONE);
        let status = ended.map_or_else(
            |error| error.to_string(),
            |status: ExitStatus| status.to_string(),
        );
        LOG.error(format_args!(
            "dockerd ended ({status}), starting it again{}",
            if withdrawn.is_ok() {
                ""
            } else {
                "; it had not answered"
            }
        ));
        Ok(Ended::ByItself { answered })
    }

    fn spawn(&self) -> Result<Child, Error> {
        let log = open_log().map_err(setup("open /var/log/docker.log"))?;
        let errors = log.try_clone().map_err(setup("open /var/log/docker.log"))?;
        let mut command = Command::new("dockerd");
        command
            .args(&self.settings.arguments)
            .envs(self.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = command.spawn().map_err(setup("run dockerd"))?;
        if let Some(pid) = child.id() {
            write_atomically(Path::new(PID_FILE), pid.to_string().as_bytes(), 0o644)
                .map_err(setup("write its process id"))?;
        }
        Ok(child)
    }

    async fn stop(&self, daemon: &mut Child) {
        send(daemon, Signal::SIGTERM);
        if let Err(error) = daemon.wait().await {
            LOG.error(format_args!("cannot wait for dockerd: {error}"));
        }
    }
}

fn tokio_signal(kind: SignalKind) -> Result<Stream, Error> {
    signal(kind).map_err(setup("listen to signals"))
}

fn announce(begun: Instant) {
    LOG.info(format_args!(
        "docker answers after {} ms",
        begun.elapsed().as_millis()
    ));
    if let Err(error) = std::fs::write(DONE, "") {
        LOG.error(format_args!("cannot write {DONE}: {error}"));
    }
}

fn send(daemon: &Child, signal: Signal) {
    let pid = daemon.id().and_then(|pid| i32::try_from(pid).ok());
    let sent = pid.map(|pid| kill(Pid::from_raw(pid), signal));
    if let Some(Err(error)) = sent {
        LOG.warn(format_args!("cannot send {signal} to dockerd: {error}"));
    }
}

/// dockerd believes its pid file when any process has that number now.
fn remove_stale_pid_file() {
    let path = Path::new("/var/run/docker.pid");
    let pid = std::fs::read_to_string(path).unwrap_or_default();
    let name = std::fs::read_to_string(format!("/proc/{}/comm", pid.trim())).unwrap_or_default();
    if name.trim() != "dockerd" {
        // Absent is as good.
        std::fs::remove_file(path).ok();
    }
}

/// One old log is kept, so that the disk does not fill up.
fn open_log() -> std::io::Result<File> {
    let path = Path::new(DAEMON_LOG);
    if std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > LOG_LIMIT) {
        std::fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

/// What the daemon said last: why it ended.
fn last_line(log: &Path) -> String {
    const TAIL: u64 = 4096;
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    text.lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or_default()
        .to_owned()
}

/// `rancher.docker.environment`, and the network's proxies where it does not name them.
fn environment(config: &Config) -> Vec<(String, String)> {
    let network = &config.rancher.network;
    let proxies = [
        ("HTTP_PROXY", &network.http_proxy),
        ("HTTPS_PROXY", &network.https_proxy),
        ("NO_PROXY", &network.no_proxy),
    ];
    let proxies = proxies
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)));
    let own = config
        .rancher
        .docker
        .environment
        .iter()
        .filter_map(|line| line.split_once('='));
    proxies
        .chain(own.map(|(name, value)| (name.to_owned(), value.to_owned())))
        .collect()
}

/// `$DOCKER_OPTS` as the file sets it. It is shell, so a shell reads it.
fn options(file: &Path) -> Vec<String> {
    if !file.is_file() {
        return Vec::new();
    }
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", r#". "$1" >/dev/null; printf %s "$DOCKER_OPTS""#, "sh"])
        .arg(file);
    let output = match shell.stderr(Stdio::inherit()).output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => {
            LOG.error(format_args!(
                "cannot read {} with a shell: {error}",
                file.display()
            ));
            String::new()
        }
    };
    shell_words::split(&output).unwrap_or_else(|_| {
        LOG.error(format_args!(
            "{}: a quote is not closed in DOCKER_OPTS",
            file.display()
        ));
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_options_are_shell() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("docker");
        std::fs::write(
            &file,
            "X=1\nDOCKER_OPTS=\"--label x=$X --label 'y=a b'\"\necho noise\n",
        )
        .unwrap();
        assert_eq!(options(&file), ["--label", "x=1", "--label", "y=a b"]);
        assert_eq!(options(folder.path()), Vec::<String>::new());
    }

    #[test]
    fn the_blocks_environment_comes_after_the_proxies() {
        let mut config = Config::default();
        config.rancher.network.http_proxy = Some("http://p:1".into());
        config.rancher.docker.environment = vec!["HTTP_PROXY=http://q:2".into(), "A=b=c".into()];
        let pairs = environment(&config);
        assert_eq!(pairs.last().unwrap(), &("A".to_owned(), "b=c".to_owned()));
        assert_eq!(pairs[0].1, "http://p:1");
        assert_eq!(pairs[1].1, "http://q:2");
    }
}
