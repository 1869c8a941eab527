//! `ros server install`: a unit of systemd. The cluster is made here, before the unit starts, so that its keys come to this terminal and
//! not into the journal.

use std::net::Ipv4Addr;
use std::process::ExitCode;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::first::{self, Secrets};
use super::{Settings, serve};
use crate::cluster::args::Shown;
use crate::cluster::error::Result;
use crate::cluster::systemd::{self, Program, Unit};
use crate::outcome::Outcome;

/// Name of the unit.
const UNIT: &str = "ros-server";

/// Makes the cluster if there is none, then the unit, and starts it.
pub async fn install(settings: Settings, shown: Shown) -> Outcome {
    systemd::check("ros server")?;
    let first = make(&settings).await?;
    let unit = Unit {
        name: UNIT,
        description: "Server of a RancherOS cluster",
        arguments: arguments(&settings),
        after: "network-online.target",
        notifies: true,
    };
    let installed = Program::settle().and_then(|program| unit.install(&program));
    // The keys of a new cluster are shown now or never: also when the unit could not be made.
    if installed.is_ok() || first.is_some() {
        let value = json!({
            "unit": installed.is_ok().then_some(UNIT),
            "first": first,
        });
        shown.print(&value, || text(first.as_ref(), &installed))?;
    }
    installed?;
    Ok(ExitCode::SUCCESS)
}

fn text(first: Option<&Secrets>, installed: &Result<()>) -> String {
    let first = first.map(Secrets::text).unwrap_or_default();
    let unit = match installed {
        Ok(()) => format!(
            "The server runs, and will at each boot: `systemctl status {UNIT}`, `journalctl -u {UNIT}`.\n"
        ),
        Err(_) => String::new(),
    };
    first + &unit
}

/// Starts the server where nobody reaches it, once: a new cluster's secrets are shown by the start that makes it.
async fn make(settings: &Settings) -> Result<Option<Secrets>> {
    let stop = CancellationToken::new();
    let alone = Settings {
        listen: Some((Ipv4Addr::LOCALHOST, 0).into()),
        names: first::names(settings),
        ..settings.clone()
    };
    let mut started = serve::start(&alone, stop.clone()).await?;
    let port = settings.listen.map_or(client::PORT, |listen| listen.port());
    started.address.set_port(port);
    let first = first::secrets(&started, &alone);
    stop.cancel();
    drop(started.server);
    started.ended.await.ok();
    Ok(first)
}

/// The arguments of the unit's `ros server`.
fn arguments(settings: &Settings) -> Vec<String> {
    let mut all = vec!["server".to_owned()];
    let mut add = |flag: &str, value: String| all.extend([flag.to_owned(), value]);
    if let Some(listen) = settings.listen {
        add("--listen", listen.to_string());
    }
    for name in &settings.names {
        add("--name", name.clone());
    }
    if settings.state.etcd.is_empty() {
        add("--data", absolute(&settings.state.data));
    } else {
        add("--etcd", settings.state.etcd.join(","));
    }
    let files = [
        ("--etcd-ca", &settings.state.etcd_ca),
        ("--etcd-cert", &settings.state.etcd_cert),
        ("--etcd-key", &settings.state.etcd_key),
    ];
    for (flag, file) in files {
        if let Some(file) = file {
            add(flag, absolute(file));
        }
    }
    all
}

fn absolute(path: &std::path::Path) -> String {
    std::path::absolute(path)
        .unwrap_or_else(|_| path.to_owned())
        .display()
        .to_string()
}
