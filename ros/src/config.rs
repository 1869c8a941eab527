//! `ros config`: show, change, export and check the configuration.
//! Owns what these commands print and their exit codes; the configuration itself is `os_config`'s business.

mod apply;
mod convert;

use crate::outcome::Outcome;
use clap::{Args, Subcommand, ValueEnum};
use os_config::emit::to_yaml;
use os_config::layers::{Owner, Privacy};
use os_config::node::{Data, Node};
use os_config::schema;
use os_config::store::{self, Loaded, Place};
use os_config::{Problem, Severity, path};
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use system_services::manager::findings::findings;

/// What init found wrong at boot.
const BOOT_PROBLEMS: &str = "/run/ros/problems.json";

/// Kernel parameters that look like keys; their values are never printed.
const KERNEL_PARAMETERS: [&str; 2] = ["rancher.password", "rancher.autologin"];

/// Arguments of `ros config`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ros config get hostname\n  sudo ros config set hostname web-1\n  sudo ros config export"
)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

/// What `ros config` can do.
#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the value of a key
    #[command(
        after_help = "Examples:\n  ros config get hostname\n  ros config get rancher.network --format json"
    )]
    Get(GetArgs),
    /// Set the value of a key; the value is YAML, `null` takes the key out
    #[command(
        after_help = "Examples:\n  ros config set hostname web-1\n  ros config set rancher.modules '[btrfs, nfs]'\n  \
                      ros config set rancher.docker.debug true"
    )]
    Set(SetArgs),
    /// Merge a YAML file, or standard input, into the saved configuration
    #[command(after_help = "Example:\n  ros config merge -i cloud-config.yml")]
    Merge(InputArgs),
    /// Show what has changed since it was read, and have it read again
    ///
    /// What needs no new start is done at once, services are restarted, and what needs a reboot is told. The console comes last: its new start ends
    /// logins.
    #[command(after_help = "Examples:\n  sudo ros config apply --dry-run\n  sudo ros config apply")]
    Apply(apply::ApplyArgs),
    /// Print the user's configuration
    #[command(
        after_help = "Example:\n  ros config export --full --private -o /home/rancher/config.yml"
    )]
    Export(ExportArgs),
    /// Check a file, or the configuration of this machine; exits with 1 when something is wrong
    #[command(
        after_help = "Examples:\n  ros config validate\n  ros config validate -i cloud-config.yml"
    )]
    Validate(ValidateArgs),
    /// Print the images that the services of a file, or of this machine, need
    #[command(
        after_help = "Examples:\n  ros config images\n  ros config images -i /var/lib/rancher/conf/web.yml"
    )]
    Images(InputArgs),
    /// Turn a cloud-config of RancherOS 1.x or BurmillaOS into one of this release
    ///
    /// The result goes to standard output, remarks with file, line and key to standard error: what was changed, what means something else here,
    /// what has no effect here, what is not known. Comments are not kept. Needs no root. Exits with 1 when there is something left to do by hand,
    /// with 2 when the file cannot be read.
    #[command(
        after_help = "Examples:\n  ros config convert old.yml -o new.yml\n  ros config convert < old.yml > new.yml\n  \
                      ros config convert old.yml --format json"
    )]
    Convert(convert::ConvertArgs),
}

/// How values are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    #[default]
    Yaml,
    Json,
}

#[derive(Debug, Args)]
struct GetArgs {
    /// Dotted path, such as rancher.ssh.port
    key: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
struct SetArgs {
    /// Dotted path, such as rancher.ssh.port
    key: String,
    /// YAML: a text, a number, true, [a, b], {a: b}
    #[arg(allow_hyphen_values = true)]
    value: String,
}

#[derive(Debug, Args)]
struct InputArgs {
    /// File to read; `-` is standard input
    #[arg(short, long)]
    input: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ExportArgs {
    /// File to write, mode 0400, instead of standard output
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// With private keys and passwords
    #[arg(short, long)]
    private: bool,
    /// With the shipped defaults
    #[arg(short, long)]
    full: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
struct ValidateArgs {
    /// File to check; `-` is standard input
    #[arg(short, long)]
    input: Option<PathBuf>,
    /// json prints a list of objects instead of messages
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Runs `ros config`.
pub fn run(args: ConfigArgs) -> Outcome {
    match args.command {
        ConfigCommand::Get(args) => get(&args),
        ConfigCommand::Set(args) => {
            store::set(&Place::default(), &args.key, &args.value)?;
            Ok(ExitCode::SUCCESS)
        }
        ConfigCommand::Merge(args) => merge(&args),
        ConfigCommand::Apply(args) => apply::run(&args),
        ConfigCommand::Export(args) => export(&args),
        ConfigCommand::Validate(args) => validate(&args),
        ConfigCommand::Images(args) => images(&args),
        ConfigCommand::Convert(args) => convert::run(&args),
    }
}

/// False for what touches nothing of this machine: old files are looked at anywhere.
pub fn needs_root(args: &ConfigArgs) -> bool {
    !matches!(args.command, ConfigCommand::Convert(_))
}

/// A key that nothing knows prints an empty line, as it always did, and fails: a script must notice a wrong key.
fn get(args: &GetArgs) -> Outcome {
    let Some(key) = &args.key else {
        return Ok(ExitCode::SUCCESS);
    };
    let loaded = store::load_running();
    let value = value_of(&loaded, key);
    let text = match args.format {
        Format::Yaml => yaml_of(value.as_ref()),
        Format::Json => json_of(value.as_ref())?,
    };
    io::stdout().write_all(text.as_bytes())?;
    match schema::unknown(key) {
        Some(problem) if value.is_none() && !KERNEL_PARAMETERS.contains(&key.as_str()) => {
            Err(problem.to_string().into())
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// The merged value, else the default of the typed configuration.
fn value_of(loaded: &Loaded, key: &str) -> Option<Node> {
    let segments = path::segments(key);
    if let Some(node) = path::find(&loaded.tree, &segments) {
        return Some(node.clone());
    }
    let defaults = serde_json::to_value(&loaded.config).ok()?;
    path::find(&Node::from_value(&defaults), &segments).cloned()
}

/// Scalars as they are; lists and maps as a block and an empty line.
fn yaml_of(node: Option<&Node>) -> String {
    match node.map(|node| &node.data) {
        Some(Data::Scalar { text, .. }) if !node.is_some_and(Node::is_null) => format!("{text}\n"),
        Some(Data::List(_) | Data::Map(_)) => {
            format!("{}\n", node.map(to_yaml).unwrap_or_default())
        }
        _ => "\n".to_owned(),
    }
}

fn json_of(node: Option<&Node>) -> Result<String, serde_json::Error> {
    let value = node.map(Node::to_value).unwrap_or_default();
    Ok(format!("{}\n", serde_json::to_string_pretty(&value)?))
}

fn merge(args: &InputArgs) -> Outcome {
    let bytes = match &args.input {
        Some(path) => read(path)?,
        None => read(Path::new("-"))?,
    };
    print_problems(&store::merge(&Place::default(), &bytes)?);
    Ok(ExitCode::SUCCESS)
}

fn export(args: &ExportArgs) -> Outcome {
    let layers = store::read_layers(&Place::default(), &store::read_cmdline());
    let from = if args.full {
        Owner::System
    } else {
        Owner::User
    };
    let privacy = if args.private {
        Privacy::Shown
    } else {
        Privacy::Hidden
    };
    let tree = layers.export(from, privacy);
    let text = match args.format {
        Format::Yaml => to_yaml(&tree),
        Format::Json => json_of(Some(&tree))?,
    };
    match &args.output {
        Some(path) => store::write_file(path, text.as_bytes(), 0o400)?,
        None => io::stdout().write_all(text.as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn validate(args: &ValidateArgs) -> Outcome {
    let problems = match &args.input {
        Some(path) => problems_in(&read(path)?, &name(path)),
        None => problems_here(),
    };
    match args.format {
        Format::Yaml => print_problems(&problems),
        Format::Json => println!("{}", serde_json::to_string_pretty(&problems)?),
    }
    let invalid = problems
        .iter()
        .any(|problem| problem.severity == Severity::Error);
    Ok(ExitCode::from(u8::from(invalid)))
}

/// What is wrong with a file, which may name services of this machine in those of its own.
fn problems_in(text: &[u8], file: &str) -> Vec<Problem> {
    let mut problems = schema::check_text(text, file);
    let place = Place::default();
    // Elsewhere than on RancherOS there is nothing to refer to.
    if place.defaults().exists() {
        let mut layers = store::read_layers(&place, &store::read_cmdline());
        layers.add_file(Owner::User, text, file);
        let loaded = layers.resolve();
        let of_services = findings(&loaded).into_iter();
        let of_users = system_services::console::complaints(&loaded);
        let of_network = system_services::network::complaints(&loaded);
        let found = of_services.chain(of_users).chain(of_network);
        problems.extend(found.filter(|found| found.file == file));
    }
    problems
}

/// What is wrong now, and what init found at boot that is in no file: user-data that cannot be used, keys without effect.
fn problems_here() -> Vec<Problem> {
    let loaded = store::load_running();
    let of_network = system_services::network::complaints(&loaded);
    let of_services = findings(&loaded);
    let of_users = system_services::console::complaints(&loaded);
    let mut problems = loaded.problems;
    problems.extend(of_network);
    problems.extend(of_users);
    problems.extend(of_services);
    let bytes = fs::read(BOOT_PROBLEMS).unwrap_or_default();
    let at_boot: Vec<Problem> = serde_json::from_slice(&bytes).unwrap_or_default();
    for problem in at_boot {
        let told = problems.iter().any(|known| known.what == problem.what);
        let of_no_file = problem.file.is_empty() || problem.file == os_config::userdata::SOURCE;
        if of_no_file && !told {
            problems.push(problem);
        }
    }
    problems
}

fn print_problems(problems: &[Problem]) {
    problems.iter().for_each(print_problem);
}

fn print_problem(problem: &Problem) {
    let level = match problem.severity {
        Severity::Error => "ERRO",
        Severity::Warning => "WARN",
        Severity::Notice => "INFO",
    };
    eprintln!("{level}[0000] {problem}");
}

fn images(args: &InputArgs) -> Outcome {
    let tree = match &args.input {
        Some(path) => os_config::yaml::parse(&read(path)?, &name(path))
            .map_err(|problem| problem.to_string())?
            .root
            .to_value(),
        None => store::load_running().tree.to_value(),
    };
    let names = ["bootstrap", "services"]
        .into_iter()
        .filter_map(|kind| tree["rancher"][kind].as_object());
    let images: BTreeSet<&str> = names
        .flat_map(|services| services.values())
        .filter_map(|service| service["image"].as_str())
        .collect();
    println!("{}", Vec::from_iter(images).join(" "));
    Ok(ExitCode::SUCCESS)
}

/// The name of an input in messages.
fn name(path: &Path) -> String {
    match path.to_str() {
        Some("-") => "standard input".to_owned(),
        _ => path.display().to_string(),
    }
}

/// Reads a file, or standard input for `-`, up to a little more than the parser takes.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let limit = os_config::yaml::MAX_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    let result = if path == Path::new("-") {
        io::stdin().take(limit).read_to_end(&mut bytes)
    } else {
        fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    match result {
        Ok(_) => Ok(bytes),
        Err(error) => Err(format!("cannot read {}: {error}", name(path))),
    }
}
