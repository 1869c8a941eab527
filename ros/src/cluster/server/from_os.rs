//! `ros server --config-from-os`: the server of a RancherOS, as `rancher.cluster.server` says. Becomes the program that has the server in it: this one,
//! or one that its administrator has put beside the image.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use os_config::effects::Reader;
use os_config::types::ServerSettings;
use system_services::log::Log;

use crate::cluster::error::{Error, Result};
use crate::outcome::Outcome;

const LOG: Log = Log::of("control-plane");
/// Where a program with the server in it is looked for when this one has none.
const PLACES: [&str; 2] = ["/var/lib/rancher/bin/ros", "/opt/rancher/bin/ros"];
/// What a new cluster's first start says goes here and not into the log: it is secret.
const GREETING: &str = "first-start.txt";
/// Folder of the state, unless the configuration says another.
const FOLDER: &str = "/var/lib/rancher/server";

/// Does not return when it goes well.
pub fn run() -> Outcome {
    let loaded = os_config::store::load_running();
    system_services::applied::note(LOG, Reader::Server, &loaded);
    let cluster = loaded.config.rancher.cluster;
    let Some(settings) = cluster.server.settings() else {
        return Err("`rancher.cluster.server` is not set: there is no server to run".into());
    };
    let program = program(&PLACES.map(Path::new))?;
    let error = Command::new(&program).args(arguments(&settings)).exec();
    Err(Error::Other(format!("cannot run {}: {error}", program.display())).into())
}

/// How a RancherOS is made to run a server, once the program is there.
pub const SWITCH: &str =
    "`sudo ros config set rancher.cluster.server true`, then `sudo ros service up control-plane`";

/// This program has no server in it.
#[cfg(any(test, not(feature = "server")))]
pub fn no_server() -> String {
    format!(
        "this program was built without the server, as it is on the image of RancherOS: put the complete `ros` of release {} at {}, executable; to run it as a service: {SWITCH}",
        env!("CARGO_PKG_VERSION"),
        PLACES[0]
    )
}

fn program(places: &[&Path]) -> Result<PathBuf> {
    if cfg!(feature = "server") {
        return std::env::current_exe()
            .map_err(|error| Error::File("/proc/self/exe".into(), error));
    }
    find(places).map_err(|why| {
        Error::Other(format!(
            "the image of RancherOS has no server of a cluster in it: put the complete `ros` of release {} at {}, executable, and it is started within a minute; {why}",
            env!("CARGO_PKG_VERSION"),
            PLACES[0]
        ))
    })
}

/// The first that may be run; otherwise what is wrong with them.
fn find(places: &[&Path]) -> std::result::Result<PathBuf, String> {
    let mut reasons = Vec::new();
    for place in places {
        match std::fs::metadata(place) {
            Ok(file) if file.is_file() && file.permissions().mode() & 0o111 != 0 => {
                return Ok(place.to_path_buf());
            }
            Ok(_) => reasons.push(format!("{} is not executable", place.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                reasons.push(format!("{} is not there", place.display()));
            }
            Err(error) => reasons.push(format!("{}: {error}", place.display())),
        }
    }
    Err(reasons.join(", "))
}

/// The arguments of `ros server` that say the same as the configuration.
fn arguments(settings: &ServerSettings) -> Vec<String> {
    let data = settings.data.as_deref().unwrap_or(FOLDER);
    let mut all = vec!["server".to_owned(), format!("--greeting={data}/{GREETING}")];
    let mut add = |flag: &str, value: &str| all.push(format!("--{flag}={}", value.trim()));
    for name in &settings.names {
        add("name", name);
    }
    for member in &settings.etcd {
        add("etcd", member);
    }
    let single = [
        ("listen", &settings.listen),
        ("data", &settings.data),
        ("etcd-ca", &settings.etcd_ca),
        ("etcd-cert", &settings.etcd_cert),
        ("etcd-key", &settings.etcd_key),
    ];
    for (flag, value) in single {
        if let Some(value) = value {
            add(flag, value);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn what_the_configuration_says_is_what_the_command_takes() {
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            server: super::super::ServerArgs,
        }
        let parse = |settings: &ServerSettings| Line::try_parse_from(arguments(settings));
        let plain = parse(&ServerSettings::default()).unwrap_or_else(|error| panic!("{error}"));
        let greeting = plain.server.settings.greeting.unwrap();
        assert_eq!(
            greeting,
            Path::new("/var/lib/rancher/server/first-start.txt")
        );
        let file = ServerSettings {
            listen: Some("[::]:7000".into()),
            names: vec!["a.example".into(), "10.0.0.5".into()],
            data: Some("/srv/-x".into()),
            ..ServerSettings::default()
        };
        let file = parse(&file)
            .unwrap_or_else(|error| panic!("{error}"))
            .server
            .settings;
        assert_eq!(file.listen.unwrap().port(), 7000);
        assert_eq!(
            (file.names.len(), file.state.data),
            (2, PathBuf::from("/srv/-x"))
        );
        let etcd = ServerSettings {
            etcd: vec!["https://a:2379".into(), "https://b:2379".into()],
            etcd_ca: Some("/ca".into()),
            etcd_cert: Some("/cert".into()),
            etcd_key: Some("/key".into()),
            ..ServerSettings::default()
        };
        let etcd = parse(&etcd)
            .unwrap_or_else(|error| panic!("{error}"))
            .server
            .settings;
        assert_eq!(
            (etcd.state.etcd.len(), etcd.state.etcd_key),
            (2, Some("/key".into()))
        );
    }

    #[test]
    fn without_a_server_it_is_said_how_to_get_one() {
        let said = no_server();
        assert!(said.contains("at /var/lib/rancher/bin/ros, "), "{said}");
        assert!(
            said.contains("`sudo ros config set rancher.cluster.server true`"),
            "{said}"
        );
    }

    #[test]
    fn a_program_must_be_one() {
        let folder = tempfile::tempdir().unwrap();
        let (none, plain, good) = (
            folder.path().join("none"),
            folder.path().join("plain"),
            folder.path().join("good"),
        );
        for (path, mode) in [(&plain, 0o644), (&good, 0o755)] {
            std::fs::write(path, "").unwrap();
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        }
        assert_eq!(find(&[&none, &plain, &good]), Ok(good));
        let why = find(&[&none, &plain]).unwrap_err();
        assert!(
            why.contains("none is not there, ") && why.contains("plain is not executable"),
            "{why}"
        );
    }
}
