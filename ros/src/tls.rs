//! `ros tls`: certificates for the user's Docker on the network. What is in them is `system_services::docker::certificates`' business; where they go
//! is decided here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use os_config::store::{self, Place, load_running};
use os_config::types::DockerBlock;
use serde_json::json;
use system_services::console::accounts::Accounts;
use system_services::docker::certificates::{Authority, Pair, Purpose};
use system_services::files::{Attributes, make_directory, write_with};

use crate::outcome::Outcome;

const SERVER_FOLDER: &str = "/etc/docker/tls";
const CLIENT_FOLDER: &str = "/home/rancher/.docker";
/// Who the client's files belong to.
const CLIENT: &str = "rancher";

/// Arguments of `ros tls`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sudo ros tls generate --server --hostname docker.example.com\n  sudo ros tls generate\n  \
                  sudo ros config set rancher.docker.tls true && sudo ros config apply"
)]
pub struct TlsArgs {
    #[command(subcommand)]
    command: TlsCommand,
}

/// What `ros tls` can do.
#[derive(Debug, Subcommand)]
enum TlsCommand {
    /// Make a certificate for whoever talks to Docker, or with --server for Docker itself
    ///
    /// The CA is that of rancher.docker.ca_cert and ca_key; without one a new one is made and saved there. Certificates are good for 1080 days.
    #[command(
        alias = "gen",
        after_help = "Examples:\n  sudo ros tls generate --server -H docker.example.com -H 203.0.113.7\n  \
                      sudo ros tls generate --dir /home/rancher/certificates"
    )]
    Generate(GenerateArgs),
}

#[derive(Debug, Args)]
struct GenerateArgs {
    /// For the daemon, under the names given, those of this machine and localhost
    #[arg(short, long)]
    server: bool,
    /// Name or address under which it is reached; may be repeated
    #[arg(short = 'H', long = "hostname", value_name = "HOST")]
    hosts: Vec<String>,
    /// Where the files go [default: /etc/docker/tls for the server, /home/rancher/.docker for a client]
    #[arg(short, long)]
    dir: Option<PathBuf>,
}

/// Runs `ros tls`.
pub fn run(args: TlsArgs) -> Outcome {
    match args.command {
        TlsCommand::Generate(args) => generate(&args),
    }
}

fn generate(args: &GenerateArgs) -> Outcome {
    let config = load_running().config;
    let block = &config.rancher.docker;
    let authority = authority(block)?;
    if args.server {
        let hosts = hosts(&args.hosts, config.host_name());
        let pair = authority.issue(Purpose::Server, &hosts)?;
        save(&json!({"server_cert": pair.certificate, "server_key": pair.key}))?;
        let folder = args.dir.as_deref().unwrap_or(Path::new(SERVER_FOLDER));
        let files = Files {
            folder,
            owner: None,
        };
        files.write(&authority, &pair, "server-")?;
        println!("Certificate for {}", hosts.join(", "));
        println!("Files in {}", folder.display());
        println!("{}", next(block));
    } else {
        if !args.hosts.is_empty() {
            return Err("--hostname is for certificates of the server: add --server".into());
        }
        let pair = authority.issue(Purpose::Client, &[])?;
        let folder = args.dir.as_deref().unwrap_or(Path::new(CLIENT_FOLDER));
        let user = Accounts::read(Path::new("/")).user(CLIENT);
        let files = Files {
            folder,
            owner: user.map(|user| (user.uid, user.gid)),
        };
        files.write(&authority, &pair, "")?;
        println!("Files in {}", folder.display());
        if block.server_cert.is_empty() || block.ca_cert.is_empty() {
            println!("Docker has no certificate of this CA yet: `sudo ros tls generate --server`");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The CA of the configuration, or a new one, which is saved there.
fn authority(block: &DockerBlock) -> Result<Authority, Box<dyn std::error::Error + Send + Sync>> {
    let known = Authority::configured(&block.ca_cert, block.ca_key.reveal())?;
    if let Some(known) = known {
        return Ok(known);
    }
    let fresh = Authority::fresh()?;
    let pair = fresh.pair();
    save(&json!({"ca_cert": pair.certificate, "ca_key": pair.key}))?;
    Ok(fresh)
}

fn save(keys: &serde_json::Value) -> Result<(), store::Error> {
    // JSON is YAML.
    let text = json!({"rancher": {"docker": keys}}).to_string();
    store::merge(&Place::default(), text.as_bytes()).map(drop)
}

/// Those asked for first, each once.
fn hosts(asked: &[String], own: &str) -> Vec<String> {
    let usual = ["localhost", "127.0.0.1", "::1", own];
    let addresses = addresses();
    let all = asked
        .iter()
        .map(String::as_str)
        .chain(usual)
        .chain(addresses.iter().map(String::as_str));
    let mut seen = BTreeSet::new();
    all.filter(|host| seen.insert(*host))
        .map(str::to_owned)
        .collect()
}

/// Addresses of this machine that others may reach it by: neither link-local nor Docker's.
fn addresses() -> Vec<String> {
    let is_of_containers = |name: &str| {
        ["docker", "br-", "veth", "ros-", "lo"]
            .iter()
            .any(|own| name.starts_with(own))
    };
    let found = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let of_hosts = found.filter(|found| !is_of_containers(&found.interface_name));
    let addresses = of_hosts.filter_map(|found| {
        let address = found.address?;
        if let Some(v4) = address.as_sockaddr_in() {
            return Some(v4.ip())
                .filter(|ip| !ip.is_link_local())
                .map(|ip| ip.to_string());
        }
        let v6 = address.as_sockaddr_in6()?.ip();
        (!v6.is_unicast_link_local()).then(|| v6.to_string())
    });
    addresses.collect()
}

/// What makes Docker use it.
fn next(block: &DockerBlock) -> &'static str {
    if block.tls {
        "Then: `sudo ros service restart docker`"
    } else {
        "Then: `sudo ros config set rancher.docker.tls true` and `sudo ros config apply`; Docker listens on port 2376"
    }
}

/// Where files go, and whose they are.
struct Files<'a> {
    folder: &'a Path,
    owner: Option<(u32, u32)>,
}

impl Files<'_> {
    /// The CA's certificate, and certificate and key under names with this prefix. The CA's key stays in the configuration.
    fn write(&self, authority: &Authority, pair: &Pair, prefix: &str) -> Result<(), String> {
        let failed = |path: &Path, error: std::io::Error| {
            format!("cannot write {}: {error}", path.display())
        };
        // A folder that is there belongs to somebody, and keeps its owner.
        let is_new = std::fs::symlink_metadata(self.folder).is_err();
        make_directory(self.folder, 0o700).map_err(|error| failed(self.folder, error))?;
        if let Some((uid, gid)) = self.owner.filter(|_| is_new) {
            std::os::unix::fs::lchown(self.folder, Some(uid), Some(gid))
                .map_err(|error| failed(self.folder, error))?;
        }
        let attributes = Attributes {
            mode: 0o600,
            uid: self.owner.map(|(uid, _)| uid),
            gid: self.owner.map(|(_, gid)| gid),
        };
        let ca = &authority.pair().certificate;
        let files = [
            ("ca.pem".to_owned(), ca),
            (format!("{prefix}cert.pem"), &pair.certificate),
            (format!("{prefix}key.pem"), &pair.key),
        ];
        for (name, text) in files {
            let path = self.folder.join(name);
            if std::fs::symlink_metadata(&path).is_ok_and(|file| file.is_symlink()) {
                let path = path.display();
                return Err(format!(
                    "{path} is a link: remove it, or give another --dir"
                ));
            }
            write_with(&path, text.as_bytes(), attributes).map_err(|error| failed(&path, error))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_stands_once_and_those_asked_for_first() {
        let asked = ["box", "203.0.113.7", "localhost"].map(str::to_owned);
        let hosts = hosts(&asked, "box");
        assert_eq!(
            hosts[..5],
            ["box", "203.0.113.7", "localhost", "127.0.0.1", "::1"]
        );
    }

    #[test]
    fn links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        std::fs::write(&victim, "whole").unwrap();
        std::os::unix::fs::symlink(&victim, folder.path().join("key.pem")).unwrap();
        let authority = Authority::fresh().unwrap();
        let pair = authority.issue(Purpose::Client, &[]).unwrap();
        let files = Files {
            folder: folder.path(),
            owner: None,
        };
        let refused = files.write(&authority, &pair, "").unwrap_err();
        assert!(refused.contains("is a link"), "{refused}");
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "whole");
    }

    #[test]
    fn files_are_named_as_docker_looks_for_them() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::fresh().unwrap();
        let pair = authority.issue(Purpose::Client, &[]).unwrap();
        let files = Files {
            folder: &folder.path().join("tls"),
            owner: None,
        };
        files.write(&authority, &pair, "").unwrap();
        for name in ["ca.pem", "cert.pem", "key.pem"] {
            let file = files.folder.join(name);
            let mode = std::fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }
}
