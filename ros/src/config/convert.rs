//! `ros config convert`: a cloud-config of RancherOS 1.x as this release takes it, and what is to be said of it.
//! Owns the output; what becomes of a key is `os_config::convert`'s business, what services and datasources there are that of the programs that run
//! them.

use std::collections::HashSet;
use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use os_config::Config;
use os_config::convert::{Abilities, Conversion, Flaw, Harm, Kind, convert};
use os_config::store;
use serde_json::{Value, json};
use system_services::cloud_init::is_datasource;
use system_services::compose::{Problem, Project, Severity, Sources, Variables};

use super::{Format, name, print_problem, read};
use crate::outcome::{Outcome, show};

/// Variables that the shipped configuration sets.
const SHIPPED_VARIABLES: [&str; 3] = ["VERSION", "SUFFIX", "REGISTRY_DOMAIN"];

/// Arguments of `ros config convert`.
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// File to read; `-`, or no file, is standard input
    #[arg(conflicts_with = "input")]
    file: Option<PathBuf>,
    /// The same, as the other commands have it
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// File to write, mode 0400, instead of standard output
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// json gives document and remarks in one object
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Exit code when something is left to do by hand.
const HANDS: u8 = 1;
/// Exit code of a file that cannot be read, or is no cloud-config.
const UNREADABLE: u8 = 2;

/// Converts; the exit code says whether something is left to do.
pub fn run(args: &ConvertArgs) -> Outcome {
    let path = args.file.as_ref().or(args.input.as_ref());
    let path = path.map_or(Path::new("-"), PathBuf::as_path);
    let file = name(path);
    let conversion = match converted(path, &file) {
        Ok(conversion) => conversion,
        Err(error) => {
            show(error.as_ref());
            return Ok(ExitCode::from(UNREADABLE));
        }
    };
    let text = match args.format {
        Format::Yaml => conversion.text(),
        Format::Json => {
            let both = json!({"document": conversion.value(), "remarks": conversion.remarks});
            format!("{}\n", serde_json::to_string_pretty(&both)?)
        }
    };
    match &args.output {
        Some(path) => store::write_file(path, text.as_bytes(), 0o400)?,
        None => io::stdout().write_all(text.as_bytes())?,
    }
    if args.format == Format::Yaml {
        tell(&file, &conversion);
    }
    Ok(match conversion.needs_hands() {
        true => ExitCode::from(HANDS),
        false => ExitCode::SUCCESS,
    })
}

fn converted(path: &Path, file: &str) -> Result<Conversion, Box<dyn Error + Send + Sync>> {
    let abilities = Abilities {
        datasource: &is_datasource,
        services: &flaws,
    };
    Ok(convert(&read(path)?, file, &abilities)?)
}

/// All remarks, and how many there are of each kind.
fn tell(file: &str, conversion: &Conversion) {
    let remarks = &conversion.remarks;
    remarks
        .iter()
        .for_each(|remark| print_problem(&remark.problem));
    if remarks.is_empty() {
        eprintln!("INFO[0000] {file}: nothing to change");
        return;
    }
    let count = |kind| remarks.iter().filter(|remark| remark.kind == kind).count();
    let to_do = remarks.iter().filter(|remark| remark.act).count();
    eprintln!(
        "INFO[0000] {file}: {} changed, {} with another meaning, {} without effect, {} not known, {} refused; {to_do} of them to be looked after",
        count(Kind::Changed),
        count(Kind::Different),
        count(Kind::NoEffect),
        count(Kind::Unknown),
        count(Kind::Refused),
    );
}

/// What the service manager would find wrong, files and services of the machine left out of account.
fn flaws(document: &Value) -> Vec<Flaw> {
    let services = document.pointer("/rancher/services");
    let definitions = services.and_then(Value::as_object).into_iter().flatten();
    let mut config: Config = serde_json::from_value(document.clone()).unwrap_or_default();
    for variable in SHIPPED_VARIABLES {
        let environment = &mut config.rancher.environment;
        environment.entry(variable.to_owned()).or_default();
    }
    let variables = Variables::new(&config, "");
    let sources = Sources {
        variables: &variables,
        read_file: &|_| Ok(String::new()),
    };
    let definitions = definitions.map(|(name, definition)| (name.as_str(), definition));
    let problems = Project::read(definitions, &sources).problems;
    // A definition with a variable that is set elsewhere cannot be judged.
    let open: HashSet<&str> = problems
        .iter()
        .filter(|problem| problem.severity == Severity::Ignored && problem.key.is_empty())
        .map(|problem| problem.service.as_str())
        .collect();
    let told = problems
        .iter()
        .filter(|problem| !open.contains(problem.service.as_str()));
    told.map(flaw).collect()
}

fn flaw(problem: &Problem) -> Flaw {
    Flaw {
        service: problem.service.clone(),
        key: problem.key.clone(),
        what: problem.message.clone(),
        harm: match problem.severity {
            Severity::Skipped => Harm::Service,
            Severity::Ignored => Harm::Key,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_cannot_run_is_told_and_what_may_stand_elsewhere_is_not() {
        let services = json!({
            "built": {"build": "."},
            "typo": {"image": "rancher/os-base:${VERSION}${SUFFIX}", "imag": "x", "env_file": "/etc/none"},
            "open": {"image": "i", "ports": ["${PORT}:eighty"]},
        });
        let found = flaws(&json!({"rancher": {"services": services}}));
        let found: Vec<(&str, &str, Harm)> = found
            .iter()
            .map(|flaw| (flaw.service.as_str(), flaw.key.as_str(), flaw.harm))
            .collect();
        assert_eq!(
            found,
            [
                ("built", "build", Harm::Service),
                ("typo", "imag", Harm::Key)
            ]
        );
    }
    #[test]
    fn datasources_of_the_old_release_are_here_but_one() {
        let old = [
            "configdrive:/media/config-2",
            "ec2",
            "gce",
            "digitalocean:http://169.254.169.254",
            "packet",
            "azure",
            "aliyun",
            "cloudstack",
            "exoscale",
            "proxmox",
            "vmware",
            "url:https://h/x",
            "tftp:h/x",
            "file:/x",
            "cmdline",
            "*",
        ];
        let unknown: Vec<&str> = old
            .into_iter()
            .filter(|name| !is_datasource(name))
            .collect();
        assert_eq!(unknown, ["vmware"]);
    }
}
