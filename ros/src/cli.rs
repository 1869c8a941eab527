//! Dispatch: the commands of `ros`, and the programs that it is under other names (`ros-sysinit`, `system-docker`, `halt` …).
//!
//! A program called by another name than `ros` is the subcommand of that name: there is no second list. What a command does lies in
//! its own module.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::env::{CompleteEnv, Shells};

use crate::outcome::{Outcome, UNKNOWN_COMMAND, WRONG_USAGE};
use crate::{cluster, config, dev, env, manager, os, power, programs, service, tls};

/// Variable by which a shell asks what may follow.
const COMPLETE: &str = "ROS_COMPLETE";

const EXAMPLES: &str = "Examples:
  sudo ros config set hostname web-1
  sudo ros service list --all
  sudo ros service logs --lines 20 network
  sudo ros os version
  sudo system-docker ps
  ros context add home https://10.0.0.5:6440 --key roskey.… --ca-hash sha256:…
  ros hosts";

/// The command line of RancherOS.
#[derive(Debug, Parser)]
#[command(name = "ros", about = "Configure and control RancherOS, and clusters of it and other hosts", after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Every subcommand, and every program by its own name.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show and change the configuration
    #[command(alias = "c")]
    Config(config::ConfigArgs),
    /// List, start, stop and configure system services
    #[command(alias = "s")]
    Service(service::ServiceArgs),
    /// Make certificates for Docker on the network
    Tls(tls::TlsArgs),
    /// The operating system: version
    Os(os::OsArgs),
    /// Print the version and the image it came from (also `ros -v`)
    #[command(hide = true)]
    Version,
    /// Print the device that a LABEL=, UUID= or path means
    #[command(hide = true)]
    Dev(dev::DevArgs),
    /// The projects of a cluster; or run a command with the variables of rancher.environment
    Env(env::EnvArgs),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  ros completion bash > /etc/bash_completion.d/ros")]
    Completion {
        /// bash, zsh, fish, elvish or powershell
        shell: clap_complete::Shell,
    },
    #[command(flatten)]
    Cluster(cluster::ClusterCommand),
    #[command(flatten)]
    Power(power::PowerCommand),
    #[command(flatten)]
    Manager(manager::ManagerCommand),
    #[command(flatten)]
    Program(programs::Program),
}

/// Reads the arguments; the first decides the program.
pub fn parse(args: &[OsString]) -> Result<Command, clap::Error> {
    let command = Cli::command();
    let args = by_program_name(&command, args);
    if let [_, flag] = args.as_slice()
        && ["-v", "-V", "--version"].iter().any(|known| flag == known)
    {
        return Ok(Command::Version);
    }
    let matches = command.try_get_matches_from(args)?;
    Ok(Cli::from_arg_matches(&matches)?.command)
}

/// `halt -f` becomes `ros halt -f` when `halt` is a subcommand.
fn by_program_name(command: &clap::Command, args: &[OsString]) -> Vec<OsString> {
    let name = args
        .first()
        .and_then(|path| Path::new(path).file_name())
        .unwrap_or_default();
    let mut all = vec![OsString::from("ros")];
    if name
        .to_str()
        .is_some_and(|name| command.find_subcommand(name).is_some())
    {
        all.push(name.to_os_string());
    }
    all.extend(args.iter().skip(1).cloned());
    all
}

/// Shows help, version or what is wrong with the arguments; an unknown subcommand exits with 3, other wrong usage with 2.
pub fn usage_error(error: &clap::Error) -> ExitCode {
    if let Some(text) = unknown_command(error) {
        eprintln!("{text}");
        return ExitCode::from(UNKNOWN_COMMAND);
    }
    let shown = error.print();
    match (shown, error.exit_code()) {
        (Ok(()), 0) => ExitCode::SUCCESS,
        _ => ExitCode::from(WRONG_USAGE),
    }
}

/// What is said of an unknown subcommand: in the ancestor's words, which scripts may look for, then what to do. `None`: it is another error.
fn unknown_command(error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let name = error.get(ContextKind::InvalidSubcommand)?;
    // clap puts the likeliest last.
    let meant = match error.get(ContextKind::SuggestedSubcommand) {
        Some(ContextValue::Strings(all)) => all.last(),
        Some(ContextValue::String(one)) => Some(one),
        _ => None,
    };
    let meant = meant.map(|meant| format!("Did you mean `{meant}`?\n"));
    let meant = meant.unwrap_or_default();
    // The line of usage begins with the command that has no such subcommand: "Usage: ros hosts [OPTIONS] [COMMAND]".
    let usage = error.get(ContextKind::Usage).map(ToString::to_string);
    let parent: Vec<&str> = usage
        .as_deref()
        .and_then(|usage| usage.split_once(':'))
        .map(|(_, line)| line.split_whitespace())
        .into_iter()
        .flatten()
        .take_while(|word| !word.starts_with(['[', '<', '-']))
        .collect();
    let parent = match parent.as_slice() {
        [] => "ros".to_owned(),
        words => words.join(" "),
    };
    Some(format!(
        "No help topic for '{name}'\n{meant}`{parent} --help` lists the commands."
    ))
}

/// Runs the command.
pub fn run(command: Command) -> Outcome {
    if needs_root(&command) && !rustix::process::geteuid().is_root() {
        return Err(format!("{}: Need to be root: use sudo", program(&command)).into());
    }
    match command {
        Command::Config(args) => config::run(args),
        Command::Service(args) => service::run(args),
        Command::Tls(args) => tls::run(args),
        Command::Os(args) => os::run(args),
        Command::Version => os::print_version(),
        Command::Dev(args) => dev::run(args),
        Command::Env(args) => env::run(args),
        Command::Completion { shell } => completion(shell),
        Command::Cluster(command) => cluster::run(command),
        Command::Power(command) => power::run(command),
        Command::Manager(command) => manager::run(command),
        Command::Program(program) => programs::run(program),
    }
}

/// The script for a shell. It asks this program for what may follow at each press of the key, so that names are among it.
fn completion(shell: clap_complete::Shell) -> Outcome {
    let shells = Shells::builtins();
    let shell = shell.to_string();
    let known = shells.completer(&shell);
    let known = known.ok_or_else(|| format!("no completion for {shell} is known"))?;
    let mut script = Vec::new();
    known.write_registration(COMPLETE, "ros", "ros", "ros", &mut script)?;
    cluster::print(&String::from_utf8_lossy(&script))
}

/// Answers a shell that asks what may follow; `None`: nobody asks.
pub fn complete() -> Option<ExitCode> {
    let asked = CompleteEnv::with_factory(Cli::command).var(COMPLETE);
    let folder = std::env::current_dir().ok();
    match asked.try_complete(std::env::args_os(), folder.as_deref()) {
        Ok(false) => None,
        Ok(true) => Some(ExitCode::SUCCESS),
        Err(_) => Some(ExitCode::FAILURE),
    }
}

/// The name that people call the command by.
fn program(command: &Command) -> &'static str {
    match command {
        Command::Manager(manager::ManagerCommand::SystemDocker { .. }) => "system-docker",
        _ => "ros",
    }
}

/// What a plain user may call without sudo.
fn needs_root(command: &Command) -> bool {
    match command {
        Command::Os(_)
        | Command::Version
        | Command::Dev(_)
        | Command::Env(_)
        | Command::Completion { .. } => false,
        Command::Cluster(command) => cluster::needs_root(command),
        Command::Program(program) => programs::needs_root(program),
        Command::Manager(command) => manager::needs_root(command),
        Command::Config(args) => config::needs_root(args),
        Command::Service(_) | Command::Tls(_) | Command::Power(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    /// Commands without an example in their help; hidden ones are programs, which nobody types.
    fn without_example(path: &str, command: &clap::Command) -> Vec<String> {
        let help = command.get_after_help().map(ToString::to_string);
        let has_one = help.is_some_and(|help| help.contains("Example"));
        let own = Some(path.to_owned()).filter(|_| !has_one);
        let below = command
            .get_subcommands()
            .filter(|below| !below.is_hide_set() && below.get_name() != "help")
            .flat_map(|below| without_example(&format!("{path} {}", below.get_name()), below));
        own.into_iter().chain(below).collect()
    }

    #[test]
    fn every_command_has_examples_in_its_help() {
        let mut command = Cli::command();
        command.build();
        assert!(command.find_subcommand("hosts").is_some());
        assert_eq!(without_example("ros", &command), Vec::<String>::new());
    }

    #[test]
    fn an_unknown_command_is_told_what_there_is() {
        let told = |line: &str| unknown_command(&parse(&args(line)).unwrap_err());
        let text = |line: &str| told(line).unwrap_or_default();
        assert_eq!(
            text("ros host"),
            "No help topic for 'host'\nDid you mean `hosts`?\n`ros --help` lists the commands."
        );
        assert_eq!(
            text("ros hosts foo"),
            "No help topic for 'foo'\n`ros hosts --help` lists the commands."
        );
        assert_eq!(
            text("ros server instal"),
            "No help topic for 'instal'\nDid you mean `install`?\n`ros server --help` lists the commands."
        );
        assert!(
            text("ros agent leav").ends_with("`leave`?\n`ros agent --help` lists the commands.")
        );
        assert!(text("ros cluster chek").contains("Did you mean `check`?"));
        assert!(
            text("ros env members ad").ends_with("`ros env members --help` lists the commands.")
        );
        assert!(text("ros help hots").ends_with("\n`ros --help` lists the commands."));
        assert_eq!(told("ros hosts --formt json"), None);
    }

    #[test]
    fn only_ros_answers_for_its_version() {
        let parsed = |line: &str| parse(&args(line)).unwrap();
        assert!(matches!(parsed("ros --version"), Command::Version));
        assert!(matches!(
            parsed("/usr/bin/system-docker --version"),
            Command::Manager(manager::ManagerCommand::SystemDocker { args }) if args == ["--version"]
        ));
    }

    #[test]
    fn the_name_of_the_program_is_a_subcommand() {
        let command = Cli::command();
        assert_eq!(
            by_program_name(&command, &args("/usr/bin/ros-sysinit")),
            args("ros ros-sysinit")
        );
        assert_eq!(
            by_program_name(&command, &args("/usr/bin/ros os version")),
            args("ros os version")
        );
        assert_eq!(
            by_program_name(&command, &args("./renamed os version")),
            args("ros os version")
        );
    }
}
