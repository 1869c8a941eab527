//! A server in the foreground: from its arguments to a clean stop.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::process::ExitCode;

use control_plane::rescue;
use control_plane::server::{self, Options, Started, StoreOptions};
use control_plane::store::{Certificates, OpenError};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Settings, State, first};
use crate::cluster::args::{Shown, print};
use crate::cluster::error::{Error, Result};
use crate::cluster::systemd;
use crate::outcome::{Outcome, chain};

/// The file of the state, in the server's folder.
const FILE: &str = "cluster.db";

/// Runs until SIGTERM or SIGINT.
pub async fn serve(settings: Settings) -> Outcome {
    let stop = CancellationToken::new();
    systemd::stop_on_signal(&stop)?;
    let started = start(&settings, stop.clone()).await?;
    if let Some(first) = first::secrets(&started, &settings) {
        greet(&first.text(), settings.greeting.as_deref())?;
    }
    print(&format!("Listening on {}.\n", started.address))?;
    systemd::ready();
    started.ended.await?;
    Ok(ExitCode::SUCCESS)
}

/// Says it here, or in a file that only its owner may read. It is said once: what cannot be written there is said here after all.
fn greet(text: &str, file: Option<&Path>) -> Outcome {
    let Some(path) = file else {
        return print(text);
    };
    if let Err(error) = write_secret(path, text) {
        return print(&format!(
            "Cannot write {}: {error}.\n{text}",
            path.display()
        ));
    }
    print(&format!(
        "A new cluster. Its administrator's key and the lines for hosts are in {}: take them, and remove it.\n",
        path.display()
    ))
}

fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Starts it.
pub async fn start(settings: &Settings, stop: CancellationToken) -> Result<Started> {
    let options = Options {
        listen: settings.listen.unwrap_or_else(everywhere),
        names: first::names(settings),
        store: store(&settings.state)?,
    };
    server::start(options, stop)
        .await
        .map_err(|error| explain(&error))
}

/// `ros server new-key`
pub async fn new_key(state: &State, shown: Shown) -> Outcome {
    let none = || {
        let place = state.data.display();
        Error::Other(format!(
            "there is no cluster in {place}; say with --data or --etcd where it is"
        ))
    };
    if state.etcd.is_empty() && !state.data.join(FILE).exists() {
        return Err(none().into());
    }
    let made = rescue::new_key(&store(state)?).await;
    let made = made.map_err(|error| explain(&error))?.ok_or_else(none)?;
    let value = json!({ "user": made.user, "key": made.key });
    shown.print(&value, || {
        format!("A key of {}, shown once:\n  {}\n", made.user, made.key)
    })
}

/// All addresses; without IPv6 in the kernel, all of IPv4.
fn everywhere() -> SocketAddr {
    if Path::new("/proc/net/if_inet6").exists() {
        (Ipv6Addr::UNSPECIFIED, client::PORT).into()
    } else {
        (std::net::Ipv4Addr::UNSPECIFIED, client::PORT).into()
    }
}

fn store(settings: &State) -> Result<StoreOptions> {
    if settings.etcd.is_empty() {
        let folder = &settings.data;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| not_writable(folder, &error))?;
        return Ok(StoreOptions::File(folder.join(FILE)));
    }
    let read = |path: &Option<std::path::PathBuf>| match path {
        None => Ok(Vec::new()),
        Some(path) => {
            std::fs::read(path).map_err(|error| Error::File(path.display().to_string(), error))
        }
    };
    let certificates = match &settings.etcd_ca {
        None => None,
        ca => Some(Certificates {
            ca: read(ca)?,
            certificate: read(&settings.etcd_cert)?,
            key: read(&settings.etcd_key)?,
        }),
    };
    Ok(StoreOptions::Etcd {
        endpoints: settings.etcd.clone(),
        certificates,
    })
}

fn not_writable(folder: &Path, error: &std::io::Error) -> Error {
    Error::Other(format!(
        "cannot make {}: {error}; use sudo, or choose another folder with --data",
        folder.display()
    ))
}

/// What to do, after what is wrong.
fn explain(error: &server::Error) -> Error {
    let advice = match error {
        server::Error::Listen(address, source) => match source.kind() {
            std::io::ErrorKind::AddrInUse => format!(
                "another program listens there, perhaps another server (`ss -ltnp 'sport = :{}'` shows it); end it, or choose another port with --listen",
                address.port()
            ),
            std::io::ErrorKind::PermissionDenied => {
                "use sudo, or a port from 1024 on with --listen".into()
            }
            std::io::ErrorKind::AddrNotAvailable => {
                "this machine does not have that address; `ip address` shows those that it has"
                    .into()
            }
            _ => "choose another address with --listen".into(),
        },
        server::Error::File(OpenError::InUse(_)) => {
            "end that one first (`systemctl stop ros-server`; on RancherOS `sudo ros service stop control-plane`), or choose another folder with --data"
                .into()
        }
        server::Error::File(OpenError::Open { .. }) => {
            "use sudo, or choose another folder with --data".into()
        }
        server::Error::Store(_) => {
            "is etcd running, and do --etcd and its certificates fit?".into()
        }
        server::Error::Pki(_) => "is each --name a host name or an address?".into(),
        _ => return Error::Other(chain(error)),
    };
    Error::Other(format!("{}; {advice}", chain(error)))
}
