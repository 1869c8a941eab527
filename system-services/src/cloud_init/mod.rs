//! `ros cloud-init-save`: asks the configured datasources for user-data and metadata and saves what the first of them gives.
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
mod source;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use os_config::store::{Loaded, Place, load_running};
use os_config::types::Config;
use os_config::{Cmdline, Metadata};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::source::Source;
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
        .filter_map(|(position, text)| Some((position, Source::parse(text, cmdline)?)))
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
            fs::write(DONE, "").map_err(|error| Error::Stamp(DONE, error))?;
            saved
        }
    }
}

fn save_local(loaded: &Loaded) -> Result<(), Error> {
    for text in &loaded.config.rancher.cloud_init.datasources {
        if !Source::is_known(text) {
            LOG.error(format_args!(
                "datasource `{text}` is not known in this release; known are configdrive, nocloud, file:PATH, url:URL, cmdline"
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
    let client = fetch::Client::new(&loaded.config.rancher.network);
    for (position, source) in wanted(&loaded.config, &loaded.cmdline, Reach::Network, before) {
        match source.network(&client, deadline) {
            Ok(Some(found)) => return keep(&source, position, found),
            Ok(None) => LOG.info(format_args!("{source} has nothing for this machine")),
            Err(error) => LOG.error(Chain(&error)),
        }
    }
    LOG.warn("no network datasource answered; going on with the configuration as it is");
    Ok(())
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
