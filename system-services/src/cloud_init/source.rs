//! The datasources: how their names in `rancher.cloud_init.datasources` read, and how each is asked.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use os_config::Cmdline;
use serde_json::Value;

use super::drive::{Devices, Drive};
use super::fetch::{self, Client};
use super::services::{self, Cloud};
use super::{Found, Reach, drive, metadata, network_config, tftp};
use crate::log::{Chain, Log};

const LOG: Log = Log::of("cloud-init");
/// For how long a metadata service may be silent before it counts as not there.
const PROBE: Duration = Duration::from_secs(30);
/// User-data larger than this is refused.
pub const LARGEST: u64 = 16 << 20;

/// One entry of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `configdrive[:dir]`
    ConfigDrive(Option<PathBuf>),
    /// `nocloud[:dir]`
    NoCloud(Option<PathBuf>),
    /// `file:path`, and `cmdline` with a `file:` URL
    File(PathBuf),
    /// `url:URL`
    Url(String),
    /// `cmdline` with `cloud-config-url=` on the kernel line
    Cmdline(String),
    /// `tftp:host[:port]/path`
    Tftp(String),
    /// A cloud's metadata service: `ec2[:url]` and the like
    Cloud(Cloud, Option<String>),
}

/// Why a source that is there cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The medium cannot be mounted.
    #[error("{0}")]
    Drive(#[from] drive::Error),
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Download failed.
    #[error("cannot fetch user-data")]
    Fetch(#[from] fetch::Error),
    /// Download over TFTP failed.
    #[error("cannot fetch user-data over TFTP")]
    Tftp(#[from] tftp::Error),
}

impl Source {
    /// Reads an entry; `None`: not known, or `cmdline` without a URL on the kernel line.
    #[must_use]
    pub fn parse(text: &str, cmdline: &Cmdline) -> Option<Self> {
        let (name, argument) = match text.split_once(':') {
            Some((name, argument)) => (name, Some(argument)),
            None => (text, None),
        };
        let folder = || argument.filter(|text| !text.is_empty()).map(PathBuf::from);
        match (name, argument) {
            // The default folder of RancherOS 1.x, which it only used as a mount point.
            ("configdrive", Some("/media/config-2")) => Some(Self::ConfigDrive(None)),
            ("configdrive", _) => Some(Self::ConfigDrive(folder())),
            // Proxmox's drive has NoCloud's form, and its label.
            ("nocloud" | "proxmox", _) => Some(Self::NoCloud(folder())),
            ("file", Some(path)) => Some(Self::File(path.trim_start_matches("//").into())),
            ("tftp", Some(place)) => Some(Self::Tftp(place.to_owned())),
            ("url", Some(url)) => Some(Self::Url(url.to_owned())),
            ("cmdline", _) => cmdline.cloud_config_url.as_deref().map(Self::from_url),
            _ => {
                let place = argument.filter(|text| !text.is_empty());
                Some(Self::Cloud(Cloud::named(name)?, place.map(str::to_owned)))
            }
        }
    }

    /// What an entry stands for: itself; as `auto` the cloud that this machine's firmware names; as `*` all that need no argument.
    #[must_use]
    pub fn all(text: &str, cmdline: &Cmdline) -> Vec<Self> {
        let cloud = |cloud| Self::Cloud(cloud, None);
        match text {
            "auto" => services::here().map(cloud).into_iter().collect(),
            // What the firmware names comes first: others are silent for long, or answer as something else.
            "*" => {
                let here = services::here();
                let others = Cloud::ALL.into_iter().filter(|other| Some(*other) != here);
                [Self::ConfigDrive(None), Self::NoCloud(None)]
                    .into_iter()
                    .chain(here.into_iter().chain(others).map(cloud))
                    .collect()
            }
            _ => Self::parse(text, cmdline).into_iter().collect(),
        }
    }

    fn from_url(url: &str) -> Self {
        match url.strip_prefix("file://") {
            Some(path) => Self::File(path.into()),
            None => Self::Cmdline(url.to_owned()),
        }
    }

    /// False for names that this release does not have.
    #[must_use]
    pub fn is_known(text: &str) -> bool {
        ["auto", "cmdline", "*"].contains(&text) || Self::parse(text, &Cmdline::default()).is_some()
    }

    /// Whether it needs the network.
    #[must_use]
    pub fn reach(&self) -> Reach {
        match self {
            Self::ConfigDrive(_) | Self::NoCloud(_) | Self::File(_) => Reach::Local,
            Self::Url(_) | Self::Cmdline(_) | Self::Tftp(_) | Self::Cloud(..) => Reach::Network,
        }
    }

    /// The type as logs name it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ConfigDrive(_) => "cloud-drive",
            Self::NoCloud(_) => "nocloud",
            Self::File(_) => "local-file",
            Self::Url(_) => "url",
            Self::Cmdline(_) => "proc-cmdline",
            Self::Tftp(_) => "tftp",
            Self::Cloud(cloud, _) => cloud.kind(),
        }
    }

    /// Asks a source that needs no network; `None`: it is not there.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn local(&self, devices: &Devices) -> Result<Option<Found>, Error> {
        match self {
            Self::ConfigDrive(Some(folder)) => config_drive(folder, folder.display().to_string()),
            Self::ConfigDrive(None) => {
                on_drive(devices.labelled("config-2"), |folder, location| {
                    config_drive(folder, location)
                })
            }
            Self::NoCloud(Some(folder)) => no_cloud(folder, folder.display().to_string()),
            Self::NoCloud(None) => on_drive(devices.labelled("cidata"), |folder, location| {
                no_cloud(folder, location)
            }),
            Self::File(path) => Ok(read(path)?.map(|user_data| Found {
                location: path.display().to_string(),
                user_data,
                ..Found::default()
            })),
            Self::Url(_) | Self::Cmdline(_) | Self::Tftp(_) | Self::Cloud(..) => Ok(None),
        }
    }

    /// Asks a source that needs the network; `None`: it says that it has nothing.
    ///
    /// # Errors
    /// When it does not answer until `deadline`, or with nonsense.
    pub fn network(&self, clients: &Clients, deadline: Instant) -> Result<Option<Found>, Error> {
        match self {
            Self::Url(url) | Self::Cmdline(url) => {
                let user_data = clients.anywhere.get(url, deadline)?;
                Ok(user_data.map(|user_data| Found {
                    location: without_secrets(url),
                    user_data,
                    ..Found::default()
                }))
            }
            Self::Tftp(place) => {
                let user_data = tftp::get(place, (deadline.min(Instant::now() + PROBE), deadline))?;
                Ok(user_data.map(|user_data| Found {
                    location: place.clone(),
                    user_data,
                    ..Found::default()
                }))
            }
            Self::Cloud(cloud, place) => {
                let times = (deadline.min(Instant::now() + PROBE), deadline);
                Ok(cloud.ask(&clients.near, place.as_deref(), times)?)
            }
            _ => Ok(None),
        }
    }
}

/// Who fetches.
#[derive(Debug)]
pub struct Clients {
    /// What the configuration names.
    pub anywhere: Client,
    /// Metadata services.
    pub near: Client,
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let argument = match self {
            Self::ConfigDrive(folder) | Self::NoCloud(folder) => folder
                .as_ref()
                .map(|folder| folder.display().to_string())
                .unwrap_or_default(),
            Self::File(path) => path.display().to_string(),
            Self::Url(url) | Self::Cmdline(url) => without_secrets(url),
            Self::Tftp(place) => place.clone(),
            Self::Cloud(_, place) => place.as_deref().map(without_secrets).unwrap_or_default(),
        };
        match argument.as_str() {
            "" => formatter.write_str(self.kind()),
            _ => write!(formatter, "{}: {argument}", self.kind()),
        }
    }
}

/// A URL for the log: user, password and query may be secret.
pub fn without_secrets(url: &str) -> String {
    let bare = url.split(['?', '#']).next().unwrap_or_default();
    match bare.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = host.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}/{path}")
        }
        None => bare.to_owned(),
    }
}

fn on_drive(
    drive: Option<&Drive>,
    ask: impl FnOnce(&Path, String) -> Result<Option<Found>, Error>,
) -> Result<Option<Found>, Error> {
    let Some(drive) = drive else {
        return Ok(None);
    };
    let mounted = drive.mount()?;
    ask(mounted.path(), drive.to_string())
}

/// OpenStack's layout: `openstack/latest/{user_data,meta_data.json,network_data.json}`.
fn config_drive(folder: &Path, location: String) -> Result<Option<Found>, Error> {
    let latest = folder.join("openstack/latest");
    let user_data = read(&latest.join("user_data"))?;
    let described = read(&latest.join("meta_data.json"))?;
    if user_data.is_none() && described.is_none() {
        return Ok(None);
    }
    let mut found = Found {
        location,
        user_data: user_data.unwrap_or_default(),
        ..Found::default()
    };
    if let Some(value) = described.and_then(|text| yaml(&text, "meta_data.json")) {
        found.metadata = metadata::from_openstack(&value);
        let content =
            metadata::network_path(&value).map(|path| folder.join("openstack").join(path));
        if let Some(path) = content
            && let Some(text) = read(&path)?
        {
            found.network = yaml(&text, "network_config")
                .map(|value| network_config::convert(&value))
                .unwrap_or_default();
        }
    }
    if found.network.is_null()
        && let Some(text) = read(&latest.join("network_data.json"))?
    {
        found.network = yaml(&text, "network_data.json")
            .map(|value| network_config::from_openstack(&value))
            .unwrap_or_default();
    }
    Ok(Some(found))
}

/// NoCloud's layout: `user-data`, `meta-data`, `network-config` at the top.
fn no_cloud(folder: &Path, location: String) -> Result<Option<Found>, Error> {
    let user_data = read(&folder.join("user-data"))?;
    let described = read(&folder.join("meta-data"))?;
    if user_data.is_none() && described.is_none() {
        return Ok(None);
    }
    let network = read(&folder.join("network-config"))?
        .and_then(|text| yaml(&text, "network-config"))
        .map(|value| network_config::convert(&value))
        .unwrap_or_default();
    Ok(Some(Found {
        location,
        user_data: user_data.unwrap_or_default(),
        metadata: described
            .and_then(|text| yaml(&text, "meta-data"))
            .map(|value| metadata::from_no_cloud(&value))
            .unwrap_or_default(),
        network,
    }))
}

/// JSON is YAML. What does not parse is logged and left out.
fn yaml(text: &[u8], name: &str) -> Option<Value> {
    match serde_yaml::from_slice(text) {
        Ok(value) => Some(value),
        Err(error) => {
            LOG.error(format_args!("{name} is not used: {}", Chain(&error)));
            None
        }
    }
}

/// The file's content; `None` when it is not there.
fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let failed = |source| Error::Read {
        path: path.to_path_buf(),
        source,
    };
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    let mut content = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut content)
        .map_err(failed)?;
    if content.len() as u64 > LARGEST {
        return Err(failed(io::Error::other("larger than 16 MiB")));
    }
    Ok(Some(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Source> {
        let cmdline = Cmdline {
            cloud_config_url: Some("http://boot.example/x".into()),
            ..Cmdline::default()
        };
        Source::parse(text, &cmdline)
    }

    #[test]
    fn names_and_arguments() {
        for (text, kind, reach) in [
            ("configdrive", "cloud-drive", Reach::Local),
            ("configdrive:/media/config-2", "cloud-drive", Reach::Local),
            ("nocloud", "nocloud", Reach::Local),
            ("file:/etc/x", "local-file: /etc/x", Reach::Local),
            ("proxmox", "nocloud", Reach::Local),
            ("gce", "gce-metadata-service", Reach::Network),
            ("tftp:h:69/x", "tftp: h:69/x", Reach::Network),
            (
                "openstack:http://10.0.0.1/",
                "openstack-metadata-service: http://10.0.0.1/",
                Reach::Network,
            ),
            (
                "url:https://u:p@h:8/x?token=1",
                "url: https://h:8/x",
                Reach::Network,
            ),
            (
                "cmdline",
                "proc-cmdline: http://boot.example/x",
                Reach::Network,
            ),
        ] {
            let source = parse(text).unwrap();
            assert_eq!(source.to_string(), kind, "{text}");
            assert_eq!(source.reach(), reach, "{text}");
        }
        assert_eq!(parse("vmware"), None);
        assert_eq!(Source::parse("cmdline", &Cmdline::default()), None);
        for known in [
            "auto",
            "cmdline",
            "*",
            "ec2",
            "ec2:http://10.0.0.1/",
            "proxmox",
            "equinix",
        ] {
            assert!(Source::is_known(known), "{known}");
        }
        for unknown in ["", "EC2", "vmware", "url", "file", "tftp"] {
            assert!(!Source::is_known(unknown), "{unknown}");
        }
    }

    #[test]
    fn a_star_is_everything() {
        let all = Source::all("*", &Cmdline::default());
        assert_eq!(all[0], Source::ConfigDrive(None));
        assert_eq!(all[2], Source::Cloud(Cloud::Ec2, None));
        assert_eq!(all.len(), 2 + Cloud::ALL.len());
        assert_eq!(Source::all("ec2", &Cmdline::default()), [all[2].clone()]);
        assert_eq!(Source::all("nonsense", &Cmdline::default()), []);
    }

    #[test]
    fn a_config_drive_gives_user_data_and_metadata() {
        let folder = tempfile::tempdir().unwrap();
        let latest = folder.path().join("openstack/latest");
        fs::create_dir_all(&latest).unwrap();
        fs::create_dir_all(folder.path().join("openstack/content")).unwrap();
        let source = Source::ConfigDrive(Some(folder.path().into()));
        let devices = Devices::default();
        assert_eq!(source.local(&devices).unwrap(), None);
        fs::write(latest.join("user_data"), "#cloud-config\n").unwrap();
        fs::write(
            latest.join("meta_data.json"),
            r#"{"hostname":"web","public_keys":{"a":"ssh-rsa A"},"network_config":{"content_path":"/content/0000"}}"#,
        )
        .unwrap();
        fs::write(
            folder.path().join("openstack/content/0000"),
            "version: 2\nethernets: {eth0: {dhcp4: true}}\n",
        )
        .unwrap();
        let found = source.local(&devices).unwrap().unwrap();
        assert_eq!(found.user_data, b"#cloud-config\n");
        assert_eq!(found.metadata.hostname, "web");
        assert_eq!(found.metadata.ssh_public_keys["a"], "ssh-rsa A");
        assert_eq!(found.network["interfaces"]["eth0"]["dhcp"], true);
    }

    #[test]
    fn broken_metadata_costs_only_itself() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("user-data"), "#!/bin/sh\n").unwrap();
        fs::write(folder.path().join("meta-data"), "a: [").unwrap();
        let found = Source::NoCloud(Some(folder.path().into()))
            .local(&Devices::default())
            .unwrap()
            .unwrap();
        assert_eq!(found.user_data, b"#!/bin/sh\n");
        assert_eq!(found.metadata, os_config::Metadata::default());
    }
}
