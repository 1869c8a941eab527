//! `ros config apply`: what has changed since it was read, and having it read again. Which key is whose is `os_config::effects`' business.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use os_config::effects::Reader;
use os_config::store::applied::{FOLDER, Pending, pending, record};
use os_config::store::{Loaded, load_running};
use system_services::manager::control::{self, Control, Target};
use system_services::{console, network};

use super::Format;
use crate::outcome::{Outcome, chain};
use crate::table::table;

/// How long the network and the service manager may take to read the configuration.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// Only show what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// How the changes are printed; json prints a list of objects
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Shows what is pending and does it, the console last: its new start ends the login that this runs in.
pub fn run(args: &ApplyArgs) -> Outcome {
    if !system_services::manager::is_here() {
        return Err("this is no RancherOS: nothing here reads the configuration".into());
    }
    let loaded = load_running();
    super::print_problems(&loaded.problems);
    let changes = pending(Path::new(FOLDER), &loaded)?;
    match args.format {
        Format::Yaml => print!("{}", text(&changes)),
        Format::Json => println!("{}", json(&changes)?),
    }
    if args.dry_run || changes.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let readers: BTreeSet<Reader> = changes.values().flatten().copied().collect();
    let mut failed = false;
    for reader in readers {
        let of_reader = changes.iter().filter(|(_, by)| by.contains(&reader));
        let keys: Vec<&str> = of_reader.map(|(key, _)| key.as_str()).collect();
        if let Err(why) = runtime.block_on(tell(reader, &keys, &loaded)) {
            eprintln!("ERRO[0000] {}: {why}", keys.join(", "));
            failed = true;
        }
    }
    Ok(ExitCode::from(u8::from(failed)))
}

/// Has `reader` act by the configuration as it is now.
async fn tell(reader: Reader, keys: &[&str], loaded: &Loaded) -> Result<(), String> {
    let text = |error: &(dyn std::error::Error + 'static)| chain(error);
    match reader {
        Reader::Settings => {
            let done = console::apply(loaded, keys);
            of_other_containers(keys, loaded);
            done.map_err(|failed| format!("{failed} of its steps failed, see above"))
        }
        Reader::Network => {
            network::reload(&network::Paths::default()).map_err(|error| text(&error))?;
            wait_for(reader).await
        }
        Reader::Services => {
            control::wake_manager().map_err(|error| text(&error))?;
            wait_for(reader).await
        }
        Reader::Server => restart("control-plane").await,
        Reader::Ntp => {
            restart("ntp").await?;
            // Its container sees nothing of /run: noted for it.
            record(Path::new(FOLDER), reader, loaded).map_err(|error| text(&error))
        }
        Reader::Docker => restart("docker").await,
        Reader::Console => {
            eprintln!("INFO[0000] restarting console: logins end now, this one too");
            restart("console").await
        }
        Reader::Boot => {
            eprintln!("INFO[0000] for {}: `sudo reboot`", keys.join(", "));
            Ok(())
        }
    }
}

/// Stops and starts a service; one that does not run reads the configuration when it is started.
async fn restart(name: &str) -> Result<(), String> {
    let control = Control::load();
    let names = [name.to_owned()];
    let services = control.select(&names).map_err(|error| chain(&error))?;
    let targets = control.targets(&names).await;
    let targets = targets.map_err(|error| chain(&error))?;
    for service in services {
        let runs = |target: &Target| target.service == service.name && target.running;
        if !targets.iter().any(runs) {
            eprintln!("INFO[0000] {name} does not run: it reads this when it is started");
            continue;
        }
        match control.restart(service, None).await {
            Err(control::Error::NoContainer(_)) | Ok(()) => {}
            Err(error) => return Err(chain(&error)),
        }
    }
    Ok(())
}

/// Waits until `reader` says that it has read the configuration.
async fn wait_for(reader: Reader) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let left = pending(Path::new(FOLDER), &load_running()).map_err(|error| chain(&error))?;
        if !left.values().any(|by| by.contains(&reader)) {
            return Ok(());
        }
        if begun.elapsed() >= PATIENCE {
            let name = reader.name();
            return Err(format!(
                "{name} has not read it within 15 s; see `ros service ps`"
            ));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Files of other containers are written by these, at their start.
fn of_other_containers(keys: &[&str], loaded: &Loaded) {
    if !keys.contains(&"write_files") {
        return;
    }
    let files = &loaded.config.write_files;
    let others = files.iter().map(|file| file.container.as_str());
    let others: BTreeSet<&str> = others
        .filter(|name| !name.is_empty() && *name != console::write_files::DEFAULT_CONTAINER)
        .collect();
    for name in others {
        eprintln!(
            "INFO[0000] write_files: those with `container: {name}` are written at its next start: `sudo ros service restart {name}`"
        );
    }
}

/// What it takes, for people.
fn effect(reader: Reader) -> &'static str {
    match reader {
        Reader::Settings | Reader::Network | Reader::Services => "now",
        Reader::Server => "restart of control-plane",
        Reader::Ntp => "restart of ntp",
        Reader::Docker => "restart of docker; containers keep running",
        Reader::Console => "restart of console; ends logins",
        Reader::Boot => "reboot",
    }
}

fn text(changes: &Pending) -> String {
    if changes.is_empty() {
        return "Nothing has changed.\n".to_owned();
    }
    let rows: Vec<[String; 2]> = changes
        .iter()
        .map(|(key, by)| {
            let mut effects: Vec<&str> = by.iter().map(|reader| effect(*reader)).collect();
            effects.dedup();
            [key.clone(), effects.join(", ")]
        })
        .collect();
    table(["KEY", "TAKES EFFECT BY"], &rows)
}

fn json(changes: &Pending) -> Result<String, serde_json::Error> {
    let line = |(key, by): (&String, &BTreeSet<Reader>)| {
        let names: Vec<&str> = by.iter().map(|reader| reader.name()).collect();
        BTreeMap::from([
            ("key", serde_json::json!(key)),
            ("by", serde_json::json!(names)),
        ])
    };
    serde_json::to_string_pretty(&changes.iter().map(line).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_with_what_they_take() {
        let of = |readers: &[Reader]| BTreeSet::from_iter(readers.iter().copied());
        let changes = Pending::from([
            ("hostname".to_owned(), of(&[Reader::Network])),
            (
                "rancher.debug".to_owned(),
                of(&[Reader::Docker, Reader::Boot]),
            ),
        ]);
        assert_eq!(
            text(&changes),
            "KEY            TAKES EFFECT BY\n\
             hostname       now\n\
             rancher.debug  restart of docker; containers keep running, reboot\n"
        );
        assert_eq!(text(&Pending::new()), "Nothing has changed.\n");
        assert!(json(&changes).unwrap().contains("\"docker\""));
    }
}
