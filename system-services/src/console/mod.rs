//! The console: prepares logins, runs the user's hooks and keeps sshd and the gettys running. Main process of container `console`.
//!
//! Owns what it writes under `/etc` of its container, the accounts there, the SSH host keys, the marked block of authorized_keys and
//! `/run/console-done`.
//! The order is that of RancherOS 1.x (keys, write_files, mounts, runcmd, script, start.sh, console-done, rc.local, logins), but logins
//! wait for the hooks only for [`logins::PATIENCE`], and the user's Docker only for [`logins::HOOK_LIMIT`]: nothing the user wrote can lock
//! him out.

pub mod accounts;
mod authorized_keys;
mod hooks;
mod login;
mod logins;
mod mounts;
mod profile;
mod ssh;
mod terminals;
mod users;
pub mod write_files;

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::mpsc::{self, Sender};

use kernel::signals::Signals;
use os_config::Problem;
use os_config::effects::Reader;
use os_config::store::{Loaded, load_running};
use os_config::types::Ssh;

pub use self::login::autologin;

use self::accounts::Password;
use self::hooks::Runner;
use self::logins::Milestone;
use self::users::Person;
use crate::applied;
use crate::files;
use crate::log::{self, Chain, Log};
use crate::network;
use crate::respawn::Respawn;

const LOG: Log = Log::of("console");

const DONE: &str = "/run/console-done";
const PROBLEMS: &str = "/run/ros/problems.json";
/// Whose password the kernel command line may set.
const RANCHER: &str = "rancher";

/// Why the console cannot run at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Signals cannot be blocked.
    #[error("cannot take over signals")]
    Signals(#[source] io::Error),
    /// The thread for the hooks cannot start.
    #[error("cannot start a thread for the hooks")]
    Thread(#[source] io::Error),
}

/// `ros console-init`: runs until SIGTERM.
///
/// # Errors
/// Only when not even logins can be offered; everything else is logged and left out.
pub fn run() -> Result<(), Error> {
    let signals = Signals::block().map_err(Error::Signals)?;
    let loaded = load_running();
    applied::note(LOG, Reader::Settings, &loaded);
    applied::note(LOG, Reader::Console, &loaded);
    let login = prepare(&loaded);
    let respawn = Respawn::default();
    let programs = logins::programs(&loaded);

    let (tell, told) = mpsc::channel();
    let hooks = loaded.clone();
    std::thread::Builder::new()
        .name("hooks".into())
        .spawn(move || run_hooks(&hooks, &tell))
        .map_err(Error::Thread)?;
    let (waiter, ssh) = (respawn.clone(), loaded.config.rancher.ssh);
    std::thread::Builder::new()
        .name("logins".into())
        .spawn(move || {
            prepare_ssh(&ssh, login);
            logins::offer(&waiter, programs, &told);
        })
        .map_err(Error::Thread)?;

    respawn.run_until_told(&signals);
    Ok(())
}

/// Everything that needs no user's command and cannot hang.
fn prepare(loaded: &Loaded) -> ssh::Login {
    quiet_kernel(loaded.config.rancher.debug);
    let problems = make_users(loaded);
    attempt("/dev/log", link("/run/log.sock", "/dev/log"));
    attempt("/run/sshd", fs::create_dir_all("/run/sshd"));
    attempt("/run/lock", fs::create_dir_all("/run/lock"));
    attempt("/run/utmp", touch("/run/utmp"));
    let login = set_password(loaded);
    write_profile(loaded, problems);
    apply_settings(loaded);
    write_keys(loaded);
    write_own_files(loaded);
    login
}

fn write_own_files(loaded: &Loaded) {
    for error in write_files::apply(
        Path::new("/"),
        &loaded.config.write_files,
        write_files::DEFAULT_CONTAINER,
    ) {
        LOG.failure(&error);
    }
}

/// Host keys and sshd_config. Making keys takes a while at the first start: the hooks, and with them the user's Docker, do not wait for it.
fn prepare_ssh(ssh: &Ssh, login: ssh::Login) {
    if ssh.daemon {
        report(ssh::ensure_host_keys(Path::new(ssh::KEY_FOLDER), ssh));
        report(ssh::write_config(ssh, login));
    }
}

/// `runcmd` and the rest, in the order of RancherOS 1.x.
fn run_hooks(loaded: &Loaded, tell: &Sender<Milestone>) {
    mount(loaded);
    let runner = runner(loaded);
    runner.run_commands(&loaded.config.runcmd);
    runner.run_script(Path::new("/var/lib/rancher/conf/cloud-config-script"));
    runner.run_script(Path::new("/opt/rancher/bin/start.sh"));
    write_done();
    // Nobody listens any more when the logins did not wait.
    tell.send(Milestone::Released).ok();
    runner.run_script(Path::new("/etc/rc.local"));
    tell.send(Milestone::Finished).ok();
}

/// `mounts`, and the homes that these have covered.
fn mount(loaded: &Loaded) {
    let config = &loaded.config;
    for entry in &config.mounts {
        report(mounts::apply(entry));
        if entry.fstype != "swap" && !mounts::is_shared(&entry.target) {
            LOG.warn(format_args!(
                "mounts: {} is seen in the console only; for containers use a directory under /mnt, /media, /home or /opt",
                entry.target
            ));
        }
    }
    if people(loaded)
        .iter()
        .any(|person| mounts::cover(&config.mounts, &person.user.home))
    {
        make_homes(loaded);
        write_keys(loaded);
    }
}

fn runner(loaded: &Loaded) -> Runner {
    let rancher = &loaded.config.rancher;
    Runner::new(
        Path::new(hooks::LOG_FILE),
        profile::proxies(&rancher.network, &rancher.environment),
    )
}

/// Sysctls and host name again: user data from the network came after init had set them.
fn apply_settings(loaded: &Loaded) {
    for (name, value) in &loaded.config.rancher.sysctl {
        report(kernel::sysctl::set(name, value));
    }
    if let Some(name) = &loaded.config.hostname {
        report(kernel::sysctl::set_host_name(name));
    }
}

/// `ros cloud-init-execute`: applies settings, users, keys, files and hooks of the present configuration again, by hand.
pub fn execute() {
    let loaded = load_running();
    applied::note(LOG, Reader::Settings, &loaded);
    apply_settings(&loaded);
    apply_users(&loaded);
    write_keys(&loaded);
    write_own_files(&loaded);
    let (tell, _told) = mpsc::channel();
    run_hooks(&loaded, &tell);
}

/// For `ros config apply`: does what the changed keys say that needs no new start of anything.
///
/// # Errors
/// The number of failures, each of which is logged.
pub fn apply(loaded: &Loaded, changed: &[&str]) -> Result<(), usize> {
    let before = log::errors();
    let has = |top: &str| {
        let mut rests = changed.iter().filter_map(|key| key.strip_prefix(top));
        rests.any(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    if has("rancher.sysctl") {
        apply_settings(loaded);
    }
    if has("users") {
        apply_users(loaded);
    }
    if has("users") || has("ssh_authorized_keys") {
        write_keys(loaded);
    }
    if has("write_files") {
        write_own_files(loaded);
    }
    if has("mounts") {
        mount(loaded);
    }
    if has("runcmd") {
        runner(loaded).run_commands(&loaded.config.runcmd);
    }
    // Last: what was broken off is still to be done. What failed is not tried at each call.
    applied::note(LOG, Reader::Settings, loaded);
    match log::errors() - before {
        0 => Ok(()),
        failed => Err(failed),
    }
}

fn apply_users(loaded: &Loaded) {
    make_users(loaded);
    if configured_hash(loaded).is_some() {
        // The kernel command line's still wins.
        set_password(loaded);
    }
}

/// What of `users` cannot be done in this console, as findings for people.
#[must_use]
pub fn complaints(loaded: &Loaded) -> Vec<Problem> {
    users::complaints(Path::new("/"), loaded)
}

/// The accounts of the configuration, and every home that is missing. Returns what is wrong.
fn make_users(loaded: &Loaded) -> Vec<Problem> {
    let applied = users::apply(Path::new("/"), loaded);
    for problem in &applied.problems {
        LOG.warn(problem);
    }
    let ended = applied.end_sessions();
    if ended > 0 {
        LOG.info(format_args!(
            "users: {ended} processes of users who are not listed any more have been ended"
        ));
    }
    make_homes(loaded);
    applied.problems
}

fn people(loaded: &Loaded) -> Vec<Person> {
    users::people(Path::new("/"), &loaded.config)
}

fn make_homes(loaded: &Loaded) {
    for person in people(loaded) {
        attempt("home directory", person.make_home(Path::new("/")));
    }
}

/// The password of the kernel command line, else that of `users`, else none.
fn set_password(loaded: &Loaded) -> ssh::Login {
    let asked = loaded
        .cmdline
        .password
        .as_ref()
        .filter(|_| !loaded.config.disabled("password"));
    let password = match (asked, configured_hash(loaded)) {
        (Some(secret), _) => Password::Is(secret.reveal()),
        (None, Some(hash)) => Password::Hash(hash),
        (None, None) => Password::None,
    };
    match accounts::set_password(Path::new("/"), RANCHER, password) {
        Ok(()) if asked.is_some() => ssh::Login::KeysOrPassword,
        Ok(()) => ssh::Login::Keys,
        Err(error) => {
            LOG.failure(&error);
            ssh::Login::Keys
        }
    }
}

fn configured_hash(loaded: &Loaded) -> Option<&str> {
    let mut entries = loaded.config.users.iter();
    entries.find(|entry| entry.name == RANCHER)?.hash()
}

fn write_keys(loaded: &Loaded) {
    for person in people(loaded) {
        let what = format!("authorized_keys of {}", person.user.name);
        attempt(&what, person.write_keys(Path::new("/")));
    }
}

fn write_profile(loaded: &Loaded, found: Vec<Problem>) {
    let rancher = &loaded.config.rancher;
    let proxies = profile::proxies(&rancher.network, &rancher.environment);
    let mut problems: Vec<Problem> = fs::read(PROBLEMS)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    problems.extend(network::complaints(loaded));
    problems.extend(found);
    let kernel = rustix::system::uname();
    let issue = profile::issue(profile::Banner {
        version: version(loaded),
        kernel: &kernel.release().to_string_lossy(),
        interfaces: &interfaces(),
        problems: &problems,
    });
    let write = |path: &str, text: &str| {
        attempt(
            path,
            files::write_atomically(Path::new(path), text.as_bytes(), 0o644),
        );
    };
    write("/etc/issue", &issue);
    write("/etc/motd", &profile::problems(&problems));
    attempt("/etc/profile.d", fs::create_dir_all("/etc/profile.d"));
    write("/etc/profile.d/proxy.sh", &profile::proxy_script(&proxies));
    write(
        "/etc/profile.d/path.sh",
        &profile::path_script(&rancher.environment),
    );
}

/// The release, as `rancher.environment` of the shipped defaults has it.
fn version(loaded: &Loaded) -> &str {
    loaded
        .config
        .rancher
        .environment
        .get("VERSION")
        .map_or(concat!("v", env!("CARGO_PKG_VERSION")), String::as_str)
}

/// Interfaces that stand for hardware; Docker's own are left out.
fn interfaces() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| {
            name != "lo"
                && !["veth", "docker", "br-"]
                    .iter()
                    .any(|own| name.starts_with(own))
        })
        .collect();
    names.sort();
    names
}

/// Kernel messages stay off the consoles that people type on, except those that say that it dies.
fn quiet_kernel(debug: bool) {
    if !debug {
        attempt(
            "/proc/sys/kernel/printk",
            fs::write("/proc/sys/kernel/printk", "1"),
        );
    }
}

fn write_done() {
    attempt(DONE, fs::write(DONE, "default\n"));
}

fn touch(path: &str) -> io::Result<()> {
    fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map(drop)
}

fn link(target: &str, path: &str) -> io::Result<()> {
    match symlink(target, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn attempt(what: &str, result: io::Result<()>) {
    if let Err(error) = result {
        LOG.error(format_args!("{what}: {error}"));
    }
}

fn report<E: std::error::Error + 'static>(result: Result<(), E>) {
    if let Err(error) = result {
        LOG.error(Chain(&error));
    }
}
