//! DHCP through Debian's dhcpcd: one process for all links; one for each link when one of them has `dhcp_args`.
//!
//! Owns those processes, their configuration and the lease files that the hook writes. dhcpcd sets addresses and routes itself; names are
//! `names.rs`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::names::{Lease, Leases};
use super::plan::{DhcpLink, Wants};
use crate::log::Log;

const LOG: Log = Log::of("netconf");
const DHCPCD: &str = "dhcpcd";
/// Name of the process that serves all links.
const MASTER: &str = "all";
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Configuration of the client for `links`.
///
/// No ARP probe of a lease and no initial delay: each costs seconds and guards against what a server-side check has excluded. A link-local
/// address has no server, and dhcpcd takes none with `noarp`. `nodev`: it must not wait for udev. `persistent`: stopping the client, as at a restart of the container, leaves the network up.
#[must_use]
pub fn configuration(links: &[&DhcpLink], hook: &Path, folder: &Path) -> String {
    let mut text = String::from("# Written by netconf.\n");
    let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
    // Writing to a String cannot fail.
    writeln!(text, "allowinterfaces {}", names.join(" ")).ok();
    text.push_str(
        "ipv4only\nnodelay\nnodev\npersistent\nclientid\nhostname\ntimeout 0\nreboot 0\n",
    );
    text.push_str("option domain_name_servers, domain_name, domain_search, host_name\n");
    text.push_str("option classless_static_routes, interface_mtu\n");
    writeln!(text, "script {}", hook.display()).ok();
    writeln!(text, "env {}", folder_variable(folder)).ok();
    for link in links {
        let not = match link.wants {
            Wants::Lease => "noarp\nnoipv4ll\n",
            Wants::LinkLocal => "nodhcp\n",
            Wants::Either => "",
        };
        write!(text, "interface {}\n{not}", link.name).ok();
    }
    text
}

/// Where the hook leaves what it was told.
fn folder_variable(folder: &Path) -> String {
    format!("ROS_NETWORK_DIR={}", folder.display())
}

/// A process, or the time at which it is started again.
#[derive(Debug)]
struct Client {
    arguments: Vec<String>,
    child: Option<Child>,
    pause: Duration,
    retry: Instant,
}

/// The DHCP clients of this machine.
#[derive(Debug)]
pub struct Dhcp {
    folder: PathBuf,
    hook: PathBuf,
    configuration: String,
    served: BTreeSet<String>,
    clients: BTreeMap<String, Client>,
}

impl Dhcp {
    /// No client yet; files go to `folder`. Leases of an earlier run are forgotten: their servers will say again.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(folder: &Path, hook: &Path) -> io::Result<Self> {
        let leases = folder.join("leases");
        fs::create_dir_all(&leases)?;
        for entry in fs::read_dir(&leases)?.flatten() {
            fs::remove_file(entry.path())?;
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            hook: hook.to_path_buf(),
            configuration: String::new(),
            served: BTreeSet::new(),
            clients: BTreeMap::new(),
        })
    }

    /// Lets go of links that are not in `links`, before others set them up: the client that serves all lets go of none when it reads its
    /// file again, and would bring the address back, so it is ended and its successor serves the rest.
    pub async fn let_go(&mut self, links: &[DhcpLink]) {
        let served: BTreeSet<String> = links.iter().map(|link| link.name.clone()).collect();
        let dropped: Vec<String> = self.served.difference(&served).cloned().collect();
        self.served = served;
        for name in &dropped {
            self.end(name).await;
            self.forget(name);
        }
        if !dropped.is_empty() {
            self.end(MASTER).await;
        }
    }

    /// Sees to it that exactly `links` are looked after.
    ///
    /// # Errors
    /// When the configuration cannot be written.
    pub fn keep(&mut self, links: &[DhcpLink]) -> io::Result<()> {
        let wanted = self.wanted(links);
        let gone: Vec<String> = self
            .clients
            .iter()
            .filter(|(name, client)| wanted.get(*name) != Some(&client.arguments))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            self.stop_one(&name);
        }
        let plain: Vec<&DhcpLink> = links
            .iter()
            .filter(|link| link.arguments.is_none())
            .collect();
        let configuration = configuration(&plain, &self.hook, &self.folder);
        if configuration != self.configuration {
            fs::write(self.configuration_file(), &configuration)?;
            self.configuration = configuration;
            for client in self.clients.values() {
                // It reads the file again and takes up the new links.
                signal(client, Signal::SIGHUP);
            }
        }
        for (name, arguments) in wanted {
            if !self.clients.contains_key(&name) {
                self.add(&name, arguments);
            }
        }
        Ok(())
    }

    /// The processes that should run, with their arguments: one for all links; or, since a second dhcpcd only hands its link to the first, one for
    /// each link as soon as one has `dhcp_args`.
    fn wanted(&self, links: &[DhcpLink]) -> BTreeMap<String, Vec<String>> {
        let ours = || {
            let file = self.configuration_file().display().to_string();
            ["--nobackground", "--quiet", "--config", &file]
                .map(str::to_owned)
                .to_vec()
        };
        if links.is_empty() {
            return BTreeMap::new();
        }
        if links.iter().all(|link| link.arguments.is_none()) {
            return BTreeMap::from([(MASTER.to_owned(), ours())]);
        }
        let mut wanted = BTreeMap::new();
        for link in links {
            let mut arguments = match &link.arguments {
                None => ours(),
                Some(words) => match self.own_arguments(words) {
                    Some(arguments) => arguments,
                    None => {
                        LOG.error(format_args!(
                            "{}: dhcp_args: a quote is not closed",
                            link.name
                        ));
                        continue;
                    }
                },
            };
            arguments.push(link.name.clone());
            wanted.insert(link.name.clone(), arguments);
        }
        wanted
    }

    fn configuration_file(&self) -> PathBuf {
        self.folder.join("dhcpcd.conf")
    }

    /// The user gives a whole command line. The program's name and manager mode (`-M`, of RancherOS 1.x's default) are not for one link.
    fn own_arguments(&self, text: &str) -> Option<Vec<String>> {
        let mut words = shell_words::split(text).ok()?;
        if words.first().is_some_and(|word| word.ends_with("dhcpcd")) {
            words.remove(0);
        }
        for word in &mut words {
            if word.starts_with('-') && !word.starts_with("--") {
                *word = word.replace('M', "");
            }
        }
        words.retain(|word| word != "-");
        let (hook, folder) = (
            self.hook.display().to_string(),
            folder_variable(&self.folder),
        );
        let ours = ["--nobackground", "--script", &hook, "--env", &folder];
        words.extend(ours.map(str::to_owned));
        Some(words)
    }

    fn add(&mut self, name: &str, arguments: Vec<String>) {
        let client = Client {
            arguments,
            child: None,
            pause: Duration::from_millis(200),
            retry: Instant::now(),
        };
        self.clients.insert(name.to_owned(), client);
        self.revive();
    }

    /// Starts what should run and does not, with growing pauses. Returns when to come again, if a start is due.
    pub fn revive(&mut self) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        for (name, client) in &mut self.clients {
            let ended = match &mut client.child {
                Some(child) => child.try_wait().map_or(true, |status| status.is_some()),
                None => true,
            };
            if !ended {
                continue;
            }
            if client.child.take().is_some() {
                LOG.warn(format_args!(
                    "DHCP client ({name}) ended; starting it again"
                ));
            }
            if Instant::now() < client.retry {
                next = Some(next.map_or(client.retry, |other| other.min(client.retry)));
                continue;
            }
            client.retry = Instant::now() + client.pause;
            client.pause = (client.pause * 2).min(LONGEST_PAUSE);
            match Command::new(DHCPCD).args(&client.arguments).spawn() {
                Ok(child) => client.child = Some(child),
                Err(error) => LOG.error(format_args!("cannot run {DHCPCD}: {error}")),
            }
        }
        next
    }

    /// The leases that links hold now.
    #[must_use]
    pub fn leases(&self) -> Leases {
        fs::read_dir(self.folder.join("leases"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let text = fs::read_to_string(entry.path()).ok()?;
                (!name.ends_with(".new")).then(|| (name, Lease::parse(&text)))
            })
            .collect()
    }

    /// Ends all clients; the addresses stay.
    pub async fn stop(&mut self) {
        for client in self.clients.values() {
            signal(client, Signal::SIGTERM);
        }
        for client in self.clients.values_mut() {
            ended(client).await;
        }
        self.clients.clear();
    }

    /// The lease of a link that is no longer looked after names no servers any more.
    fn forget(&self, link: &str) {
        let path = self.folder.join("leases").join(link);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            LOG.warn(format_args!("{}: {error}", path.display()));
        }
    }

    /// Ends the client of this name and waits for it.
    async fn end(&mut self, name: &str) {
        if let Some(mut client) = self.clients.remove(name) {
            signal(&client, Signal::SIGTERM);
            ended(&mut client).await;
        }
    }

    fn stop_one(&mut self, name: &str) {
        if let Some(client) = self.clients.remove(name) {
            signal(&client, Signal::SIGTERM);
        }
    }
}

/// Waits for the end of a client that was told to end.
async fn ended(client: &mut Client) {
    if let Some(child) = &mut client.child {
        let ended = tokio::time::timeout(Duration::from_secs(3), child.wait()).await;
        if ended.is_err()
            && let Err(error) = child.kill().await
        {
            LOG.warn(format_args!("DHCP client does not end: {error}"));
        }
    }
}

fn signal(client: &Client, signal: Signal) {
    let pid = client
        .child
        .as_ref()
        .and_then(Child::id)
        .and_then(|pid| i32::try_from(pid).ok());
    if let Some(pid) = pid
        && let Err(error) = kill(Pid::from_raw(pid), signal)
    {
        LOG.warn(format_args!("DHCP client cannot be signalled: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_links_of_the_plan_are_served() {
        let link = |name: &str, wants| DhcpLink {
            name: name.into(),
            arguments: None,
            wants,
        };
        let text = configuration(
            &[
                &link("eth0", Wants::Lease),
                &link("br-lan", Wants::Either),
                &link("eth1", Wants::LinkLocal),
            ],
            Path::new("/hook"),
            Path::new("/run/x"),
        );
        assert!(
            text.contains("\nallowinterfaces eth0 br-lan eth1\n"),
            "{text}"
        );
        let blocks =
            "\ninterface eth0\nnoarp\nnoipv4ll\ninterface br-lan\ninterface eth1\nnodhcp\n";
        assert!(text.ends_with(blocks), "{text}");
    }

    #[test]
    fn own_arguments_lose_what_is_not_for_one_link() {
        let folder = tempfile::tempdir().unwrap();
        let dhcp = Dhcp::new(folder.path(), Path::new("/hook")).unwrap();
        let words = |text| dhcp.own_arguments(text).map(|words| words[..2].join(" "));
        assert_eq!(words("dhcpcd -MA4 -w"), Some("-A4 -w".into()));
        assert_eq!(words("-M --Mode"), Some("--Mode --nobackground".into()));
        assert_eq!(words("'open"), None);
    }

    #[tokio::test]
    async fn leases_are_read_and_old_ones_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let leases = folder.path().join("leases");
        fs::create_dir_all(&leases).unwrap();
        fs::write(leases.join("eth9"), "ip_address=10.0.0.9\n").unwrap();
        let dhcp = Dhcp::new(folder.path(), Path::new("/hook")).unwrap();
        assert!(dhcp.leases().is_empty());
        fs::write(leases.join("eth0"), "ip_address=10.0.0.1\n").unwrap();
        fs::write(leases.join("eth1.new"), "ip_address=10.0.0.2\n").unwrap();
        let found = dhcp.leases();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["eth0"]);
    }
}
