//! `ros service`: what it prints and its exit codes. Containers are `system_services::manager`'s business.

mod complete;
mod listing;
mod removal;
mod selection;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use system_services::manager::control::{self, Control, Recreate, Volumes};
use system_services::manager::logs::{self, Extent};

use crate::outcome::{Outcome, chain};

/// Lines of a log that are printed when nobody says how many.
const LINES: u32 = 100;

/// Arguments of `ros service`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sudo ros service list --all\n  sudo ros service logs --lines 20 network\n  sudo ros service enable ntp && sudo ros service up ntp"
)]
pub struct ServiceArgs {
    #[command(subcommand)]
    command: ServiceCommand,
}

/// What `ros service` can do.
#[derive(Debug, Subcommand)]
enum ServiceCommand {
    /// List the services of the configuration, enabled or disabled
    #[command(after_help = "Examples:\n  ros service list\n  ros service list --all --format json")]
    List {
        /// Also those that are shipped
        #[arg(short, long)]
        all: bool,
        /// How to print
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Show the containers of services
    #[command(after_help = "Examples:\n  ros service ps\n  ros service ps -q docker")]
    Ps {
        /// Only the ids
        #[arg(short, long)]
        quiet: bool,
        /// How to print
        #[arg(long, value_enum, default_value_t)]
        format: Format,
        /// All when none is named
        #[arg(value_name = "NAME", add = complete::services())]
        names: Vec<String>,
    },
    /// Print what services have logged
    #[command(
        after_help = "Examples:\n  ros service logs network\n  ros service logs -f --lines 20 docker"
    )]
    Logs {
        /// Go on until interrupted
        #[arg(short, long)]
        follow: bool,
        /// Begin with so many lines
        #[arg(long, visible_alias = "tail", default_value_t = LINES)]
        lines: u32,
        #[command(flatten)]
        services: Named,
    },
    /// Make and start services as the configuration says now
    #[command(
        after_help = "Examples:\n  ros service up ntp\n  ros service up --force-recreate console"
    )]
    Up {
        #[command(flatten)]
        recreate: RecreateArgs,
        /// Then print what they log, until interrupted; they go on
        #[arg(long)]
        foreground: bool,
        #[command(flatten)]
        services: Named,
    },
    /// Make the containers of services without starting them; `start` starts them
    #[command(
        after_help = "Examples:\n  ros service create web\n  ros service create --force-recreate web"
    )]
    Create {
        #[command(flatten)]
        recreate: RecreateArgs,
        #[command(flatten)]
        services: Named,
    },
    /// Fetch the images of services from their registries
    #[command(
        after_help = "Examples:\n  ros service pull web\n  ros service pull --ignore-pull-failures web db"
    )]
    Pull {
        /// Go on with the others when one cannot be had, and end well
        #[arg(long)]
        ignore_pull_failures: bool,
        #[command(flatten)]
        services: Named,
    },
    /// Start services that were stopped
    #[command(after_help = "Example:\n  ros service start ntp")]
    Start {
        #[command(flatten)]
        services: Named,
    },
    /// Stop services until `start` or the next boot
    #[command(after_help = "Example:\n  ros service stop -t 30 docker")]
    Stop {
        #[command(flatten)]
        grace: Grace,
        #[command(flatten)]
        services: Named,
    },
    /// Stop and start services
    #[command(
        after_help = "Examples:\n  ros service restart network\n  ros service restart -t 30 docker"
    )]
    Restart {
        #[command(flatten)]
        grace: Grace,
        #[command(flatten)]
        services: Named,
    },
    /// Send a signal to services; those that end of it come back as their `restart` says
    #[command(
        after_help = "Examples:\n  ros service kill web\n  ros service kill -s SIGHUP syslog"
    )]
    Kill {
        /// Name or number of the signal
        #[arg(short, long, default_value = "SIGKILL")]
        signal: String,
        #[command(flatten)]
        services: Named,
    },
    /// Remove the containers of services, until `up`, `start` or the next boot
    #[command(
        after_help = "Examples:\n  ros service stop web && ros service rm web\n  ros service rm -f -v web"
    )]
    Rm {
        /// Do not ask, and stop what runs
        #[arg(short, long)]
        force: bool,
        /// Also their volumes without a name
        #[arg(short = 'v', long)]
        volumes: bool,
        #[command(flatten)]
        services: Named,
    },
    /// Enable services, by name or as a file below /var/lib/rancher/conf; `up` starts them
    #[command(
        after_help = "Examples:\n  ros service enable ntp\n  ros service enable /var/lib/rancher/conf/web.yml"
    )]
    Enable {
        #[command(flatten)]
        services: Named,
    },
    /// Disable services; `stop` stops what runs
    #[command(after_help = "Example:\n  ros service disable acpid && ros service stop acpid")]
    Disable {
        #[command(flatten)]
        services: Named,
    },
    /// Take services out of rancher.services_include, as if they had never been enabled or disabled
    #[command(
        after_help = "Examples:\n  ros service delete /var/lib/rancher/conf/web.yml\n  ros service rm -f web && ros service delete /var/lib/rancher/conf/web.yml"
    )]
    Delete {
        #[command(flatten)]
        services: Named,
    },
}

/// Names, at least one.
#[derive(Debug, Args)]
struct Named {
    /// Names of services
    #[arg(required = true, value_name = "NAME", add = complete::services())]
    names: Vec<String>,
}

/// What becomes of a container that is there.
#[derive(Debug, Args)]
struct RecreateArgs {
    /// Make the containers anew though nothing changed
    #[arg(long, conflicts_with = "no_recreate")]
    force_recreate: bool,
    /// Leave containers that are there as they are, though something changed
    #[arg(long)]
    no_recreate: bool,
    /// Without effect: images are never built here
    #[arg(long, hide = true)]
    no_build: bool,
}

impl RecreateArgs {
    fn meaning(&self) -> Recreate {
        match (self.force_recreate, self.no_recreate) {
            (true, _) => Recreate::Always,
            (false, true) => Recreate::Never,
            (false, false) => Recreate::WhenChanged,
        }
    }
}

/// How long a container has to end by itself.
#[derive(Debug, Args)]
struct Grace {
    /// Seconds between the signal to stop and the kill [default: the container's own, or 10]
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<i32>,
}

/// How a list is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// Runs `ros service`.
pub fn run(args: ServiceArgs) -> Outcome {
    match args.command {
        ServiceCommand::List { all, format } => listing::list(all, format),
        ServiceCommand::Enable { services } => selection::enable(&services.names),
        ServiceCommand::Disable { services } => selection::disable(&services.names),
        ServiceCommand::Delete { services } => selection::delete(&services.names),
        on_containers => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(run_on_containers(on_containers))
        }
    }
}

/// Whether this is a RancherOS: its service manager runs here.
pub fn is_managed() -> bool {
    system_services::manager::is_here()
}

/// Starts a service as the configuration says now, and waits until it runs.
pub async fn start(name: &str) -> Outcome {
    let control = Control::load();
    up(&control, &[name.to_owned()], Recreate::WhenChanged).await
}

/// Does `work` while a service is stopped; then it runs again if the configuration still wants it.
pub async fn without<T>(name: &str, work: impl Future<Output = T>) -> Result<T, control::Error> {
    let control = Control::load();
    let names = [name.to_owned()];
    let services = control.select(&names)?;
    for service in &services {
        control.stop(service, None).await?;
    }
    let done = work.await;
    for service in &services {
        control.resume(service)?;
    }
    Ok(done)
}

async fn run_on_containers(command: ServiceCommand) -> Outcome {
    let control = Control::load();
    match command {
        ServiceCommand::Ps {
            quiet,
            format,
            names,
        } => listing::ps(&control, &names, quiet, format).await,
        ServiceCommand::Logs {
            follow,
            lines,
            services,
        } => print_logs(&control, &services.names, Extent { lines, follow }).await,
        ServiceCommand::Up {
            recreate,
            foreground,
            services,
        } => {
            let up = up(&control, &services.names, recreate.meaning()).await?;
            if !foreground {
                return Ok(up);
            }
            let extent = Extent {
                lines: LINES,
                follow: true,
            };
            print_logs(&control, &services.names, extent).await
        }
        ServiceCommand::Create { recreate, services } => {
            let selected = control.select(&services.names)?;
            control.create(&selected, recreate.meaning()).await?;
            Ok(ExitCode::SUCCESS)
        }
        ServiceCommand::Pull {
            ignore_pull_failures,
            services,
        } => {
            let on_failure = if ignore_pull_failures {
                OnFailure::GoOn
            } else {
                OnFailure::End
            };
            pull(&control, &services.names, on_failure).await
        }
        ServiceCommand::Kill { signal, services } => {
            for service in control.select(&services.names)? {
                control.kill(service, &signal).await?;
            }
            Ok(ExitCode::SUCCESS)
        }
        ServiceCommand::Rm {
            force,
            volumes,
            services,
        } => {
            let consent = if force {
                removal::Consent::Given
            } else {
                removal::Consent::Asked
            };
            let volumes = if volumes {
                Volumes::Remove
            } else {
                Volumes::Keep
            };
            removal::remove(&control, &services.names, consent, volumes).await
        }
        ServiceCommand::Start { services } => {
            up(&control, &services.names, Recreate::WhenChanged).await
        }
        ServiceCommand::Stop { grace, services } => {
            for service in control.select(&services.names)? {
                control.stop(service, grace.timeout).await?;
            }
            Ok(ExitCode::SUCCESS)
        }
        ServiceCommand::Restart { grace, services } => {
            for service in control.select(&services.names)? {
                control.restart(service, grace.timeout).await?;
            }
            Ok(ExitCode::SUCCESS)
        }
        ServiceCommand::List { .. }
        | ServiceCommand::Enable { .. }
        | ServiceCommand::Disable { .. }
        | ServiceCommand::Delete { .. } => Ok(ExitCode::SUCCESS),
    }
}

async fn up(control: &Control, names: &[String], recreate: Recreate) -> Outcome {
    let services = control.select(names)?;
    control.up(&services, recreate).await?;
    Ok(ExitCode::SUCCESS)
}

/// What to do when an image cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnFailure {
    GoOn,
    End,
}

/// Progress goes to standard error, as in RancherOS 1.x.
async fn pull(control: &Control, names: &[String], on_failure: OnFailure) -> Outcome {
    for service in control.select(names)? {
        eprintln!("Pulling {} ({})...", service.name, service.image);
        let pulled = control.pull(service, |line| eprintln!("{line}")).await;
        match (pulled, on_failure) {
            (Err(error), OnFailure::GoOn) => eprintln!("WARN[0000] {}", chain(&error)),
            (result, _) => result?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn print_logs(control: &Control, names: &[String], extent: Extent) -> Outcome {
    let services = control.select(names)?;
    let mut out = io::stdout().lock();
    // A reader that went away (`| head`) ends it.
    let print = |line: &str| writeln!(out, "{line}").is_ok();
    logs::read(control, &services, extent, print).await?;
    Ok(ExitCode::SUCCESS)
}
