//! `ros cloud-init-save`: asks the configured datasources for user-data and metadata and saves what the first of them gives.
//!
//! Network sources are asked all at the same time; of those that answer, the first of the list is used.
//!
//! Run twice: by init before Docker for what needs no network (`--local`), and in container `cloud-init` for what does (`--network`), if a
//! network datasource is listed before the local one that answered. Sources are asked in the order in which they are listed; one that is not
//! there is passed over quickly. Owns `boot.yml`, `network.yml`, `metadata` and `cloud-config-script` under `/var/lib/rancher/conf`. Broken
//! user-data never stops a boot.

mod drive;
mod fetch;
mod metadata;
mod network_config;
mod save;
mod services;
mod source;
mod tftp;

use std::fs;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use os_config::effects::Reader;
use os_config::store::{Loaded, Place, load_running};
use os_config::types::Config;
use os_config::{Cmdline, Metadata};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::services::Cloud;
use self::source::{Clients, Source};
use crate::applied;
use crate::log::{Chain, Log};
use crate::network;

const LOG: Log = Log::of("cloud-init");
/// Which source was used in this boot.
const CHOSEN: &str = "/run/ros/cloud-init.json";
const DONE: &str = "/run/cloud-init-done";
/// All network sources together.
const NETWORK_LIMIT: Duration = Duration::from_secs(300);
/// A local device that is still being found by its driver.
const DEVICE_LIMIT: Duration = Duration::from_secs(3);

/// Which datasources are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Those that need no network.
    Local,
    /// Those that need it.
    Network,
}

/// Why nothing could be saved.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be written.
    #[error("cannot save what the datasource gave")]
    Save(#[from] os_config::store::Error),
    /// A stamp cannot be written.
    #[error("cannot write {0}")]
    Stamp(&'static str, #[source] std::io::Error),
}

/// What a datasource gives.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// Where it was, for the log.
    pub location: String,
    /// As it was delivered; empty: none.
    pub user_data: Vec<u8>,
    /// Keys, host name, addresses.
    pub metadata: Metadata,
    /// A `rancher.network` map, or null.
    pub network: Value,
}

/// The source that was used, and its place in the list.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
struct Chosen {
    datasource: String,
    position: usize,
}

/// Whether a datasource, as `rancher.cloud_init.datasources` names it, is one of this release.
#[must_use]
pub fn is_datasource(name: &str) -> bool {
    Source::is_known(name)
}

/// True when a network datasource is configured that comes before the local one that answered: container `cloud-init` is then needed.
#[must_use]
pub fn network_is_wanted(config: &Config, cmdline: &Cmdline) -> bool {
    let chosen = fs::read(CHOSEN)
        .ok()
        .and_then(|text| serde_json::from_slice::<Chosen>(&text).ok());
    let before = chosen.map_or(usize::MAX, |chosen| chosen.position);
    !wanted(config, cmdline, Reach::Network, before).is_empty()
}

/// The sources of one reach before position `before`, with their positions in the list.
fn wanted(config: &Config, cmdline: &Cmdline, reach: Reach, before: usize) -> Vec<(usize, Source)> {
    config
        .rancher
        .cloud_init
        .datasources
        .iter()
        .enumerate()
        .take_while(|(position, _)| *position < before)
        .flat_map(|(position, text)| {
            let all = Source::all(text, cmdline).into_iter();
            all.map(move |source| (position, source))
        })
        .filter(|(_, source)| source.reach() == reach)
        .collect()
}

/// `ros cloud-init-save`.
///
/// # Errors
/// When files cannot be written; a source that fails is logged and passed over.
pub fn save(reach: Reach) -> Result<(), Error> {
    let loaded = load_running();
    match reach {
        Reach::Local => save_local(&loaded),
        Reach::Network => {
            let saved = save_network(&loaded);
            // Host name and network may have come with it.
            if let Err(error) = network::reload(&network::Paths::default()) {
                LOG.warn(format_args!("netconf is not told: {error}"));
            }
            // The clock's service starts after this, and sees nothing of /run.
            applied::note(LOG, Reader::Ntp, &load_running());
            fs::write(DONE, "").map_err(|error| Error::Stamp(DONE, error))?;
            saved
        }
    }
}

fn save_local(loaded: &Loaded) -> Result<(), Error> {
    for text in &loaded.config.rancher.cloud_init.datasources {
        if !Source::is_known(text) {
            LOG.error(format_args!(
                "datasource `{text}` is not known in this release; known are configdrive, nocloud, proxmox, file:PATH, url:URL, tftp:HOST/PATH, cmdline, auto, {clouds} and `*`",
                clouds = Cloud::ALL.map(Cloud::name).join(", ")
            ));
        }
    }
    let sources = wanted(&loaded.config, &loaded.cmdline, Reach::Local, usize::MAX);
    if sources.is_empty() {
        return Ok(());
    }
    let deadline = Instant::now() + DEVICE_LIMIT;
    loop {
        // Looked at before the devices, so that one that turns up in between is not missed.
        let more = drive::more_may_come();
        let devices = drive::Devices::look();
        for (position, source) in &sources {
            match source.local(&devices) {
                Ok(Some(found)) => return keep(source, *position, found),
                Ok(None) => {}
                Err(error) => LOG.error(Chain(&error)),
            }
        }
        if !more || Instant::now() >= deadline {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn save_network(loaded: &Loaded) -> Result<(), Error> {
    let chosen = fs::read(CHOSEN)
        .ok()
        .and_then(|text| serde_json::from_slice::<Chosen>(&text).ok());
    let before = chosen.map_or(usize::MAX, |chosen| chosen.position);
    let deadline = Instant::now() + NETWORK_LIMIT;
    let clients = Arc::new(Clients {
        anywhere: fetch::Client::new(&loaded.config.rancher.network),
        near: fetch::Client::direct(),
    });
    let sources = wanted(&loaded.config, &loaded.cmdline, Reach::Network, before);
    let ask = move |source: &Source| source.network(&clients, deadline);
    match first(sources, ask) {
        Some((position, source, found)) => keep(&source, position, found),
        None => {
            LOG.warn("no network datasource answered; going on with the configuration as it is");
            Ok(())
        }
    }
}

/// Asks all sources at the same time: one that is not there takes its time to be silent. Gives the first of the list that has something.
fn first(
    sources: Vec<(usize, Source)>,
    ask: impl Fn(&Source) -> Result<Option<Found>, source::Error> + Clone + Send + 'static,
) -> Option<(usize, Source, Found)> {
    let asked: Vec<_> = sources
        .into_iter()
        .map(|(position, source)| {
            let (answer, answers) = mpsc::channel();
            let (asked, ask) = (source.clone(), ask.clone());
            // Its end is not waited for: what comes after the decision is nobody's business, and ends with the process.
            let started = std::thread::Builder::new().spawn(move || answer.send(ask(&asked)).ok());
            if let Err(error) = started {
                LOG.error(format_args!("{source} cannot be asked: {error}"));
            }
            (position, source, answers)
        })
        .collect();
    for (position, source, answers) in asked {
        match answers.recv() {
            Ok(Ok(Some(found))) => return Some((position, source, found)),
            Ok(Ok(None)) => LOG.info(format_args!("{source} has nothing for this machine")),
            Ok(Err(error)) => LOG.error(format_args!("{source}: {}", Chain(&error))),
            // It has ended without a word, or was not started.
            Err(mpsc::RecvError) => {}
        }
    }
    None
}

fn keep(source: &Source, position: usize, found: Found) -> Result<(), Error> {
    LOG.info(format_args!(
        "Cloud-init datasource that was used: {}: {}",
        source.kind(),
        found.location
    ));
    save::save(&Place::new(Path::new("/")), found)?;
    let chosen = Chosen {
        datasource: source.to_string(),
        position,
    };
    let text = serde_json::to_vec(&chosen).unwrap_or_default();
    fs::create_dir_all("/run/ros")
        .and_then(|()| fs::write(CHOSEN, text))
        .map_err(|error| Error::Stamp(CHOSEN, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_decides_and_not_who_is_quick() {
        let cloud = |cloud| Source::Cloud(cloud, None);
        let sources = vec![
            (0, cloud(Cloud::Gce)),
            (1, cloud(Cloud::Ec2)),
            (2, cloud(Cloud::Azure)),
            (3, cloud(Cloud::Aliyun)),
        ];
        let begun = Instant::now();
        let ask = |source: &Source| match source {
            Source::Cloud(Cloud::Gce, _) => Ok(None),
            Source::Cloud(Cloud::Ec2, _) => {
                std::thread::sleep(Duration::from_millis(200));
                Ok(Some(Found::default()))
            }
            Source::Cloud(Cloud::Azure, _) => Ok(Some(Found::default())),
            _ => {
                std::thread::sleep(Duration::from_secs(60));
                Ok(None)
            }
        };
        let (position, source, _) = first(sources, ask).unwrap();
        assert_eq!((position, source), (1, cloud(Cloud::Ec2)));
        // The last one is not waited for.
        assert!(begun.elapsed() < Duration::from_secs(30));
        assert_eq!(first(Vec::new(), ask), None);
    }

    #[test]
    fn a_star_is_before_what_comes_after_it() {
        let mut config = Config::default();
        config.rancher.cloud_init.datasources = vec!["*".into(), "url:http://h/".into()];
        let cmdline = Cmdline::default();
        let found = wanted(&config, &cmdline, Reach::Network, usize::MAX);
        assert_eq!(found.len(), Cloud::ALL.len() + 1);
        assert!(wanted(&config, &cmdline, Reach::Network, 0).is_empty());
        assert_eq!(wanted(&config, &cmdline, Reach::Local, usize::MAX).len(), 2);
    }
}
