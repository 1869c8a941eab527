//! `ros server install`: a unit of systemd. The cluster is made here, before the unit starts, so that its keys come to this terminal and
//! not into the journal.

use std::net::Ipv4Addr;
use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use super::{Settings, first, serve};
use crate::cluster::args::print;
use crate::cluster::systemd::{self, Program, Unit};
use crate::outcome::Outcome;

/// Name of the unit.
const UNIT: &str = "ros-server";

/// Makes the cluster if there is none, then the unit, and starts it.
pub async fn install(settings: Settings) -> Outcome {
    systemd::check("ros server")?;
    let text = make(&settings).await?;
    let program = Program::settle()?;
    let unit = Unit {
        name: UNIT,
        description: "Server of a RancherOS cluster",
        arguments: arguments(&settings),
        after: "network-online.target",
        notifies: true,
    };
    unit.install(&program)?;
    if let Some(text) = text {
        print(&text)?;
    }
    print(
        "The server runs, and will at each boot: `systemctl status ros-server`, `journalctl -u ros-server`.\n",
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Starts the server where nobody reaches it, once: a new cluster's secrets are shown by the start that makes it.
async fn make(settings: &Settings) -> crate::cluster::error::Result<Option<String>> {
    let stop = CancellationToken::new();
    let alone = Settings {
        listen: Some((Ipv4Addr::LOCALHOST, 0).into()),
        names: first::names(settings),
        ..settings.clone()
    };
    let mut started = serve::start(&alone, stop.clone()).await?;
    let port = settings.listen.map_or(client::PORT, |listen| listen.port());
    started.address.set_port(port);
    let text = first::greeting(&started, &alone);
    stop.cancel();
    drop(started.server);
    started.ended.await.ok();
    Ok(text)
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
