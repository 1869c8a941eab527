//! `make bench`: boots our image and a Debian peer in turns, prints what they cost and checks it against `budgets.toml`.
//! Owns `build/bench/` and `build/bench.json`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use qemu_tests::artefacts::{
    artefact, bios_boot, build_folder, direct_boot, repository, small_boot, uefi_boot,
};
use qemu_tests::bench::budget;
use qemu_tests::bench::measure::{Memory, Side, boot, warm_up};
use qemu_tests::bench::ours;
use qemu_tests::bench::peer::{self, Peer};
use qemu_tests::bench::report::Report;
use qemu_tests::disk::{Disk, STATE_LABEL};
use qemu_tests::guest::{free_port, user_nic};
use qemu_tests::machine::{Boot, Machine, Slot, Writes};
use qemu_tests::tool::Tool;
use qemu_tests::{HarnessError, Result};

/// Compare the built image with Debian + systemd + docker.io on the same emulated machine.
#[derive(Parser)]
struct Options {
    /// Measured boots of each side; the figures are medians.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Idle time in seconds before memory is read.
    #[arg(long, default_value_t = 60)]
    idle: u64,
    /// Measured boots of each other way to start ours: from RAM, from CD through BIOS and UEFI (0 for none).
    #[arg(long, default_value_t = 3)]
    variant_runs: usize,
    /// Do not time a warm rebuild after a change in init.
    #[arg(long)]
    skip_rebuild: bool,
    /// Measure the Debian side alone.
    #[arg(long)]
    debian_only: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(complaints) if complaints.is_empty() => ExitCode::SUCCESS,
        Ok(complaints) => {
            eprintln!("bench: over budget:\n  {}", complaints.join("\n  "));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("bench: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<Vec<String>> {
    let folder = build_folder().join("bench");
    std::fs::create_dir_all(&folder).map_err(HarnessError::file("make bench folder", &folder))?;
    let prober = build_prober()?;
    let peer = Peer::prepare(&prober)?;
    let mut report = Report {
        method: METHOD.to_owned(),
        ..Report::default()
    };
    report
        .sizes
        .insert("debian: root as tar, zstd -19".into(), peer.packed_bytes);
    let debian = debian_side(&peer)?;
    if options.debian_only {
        measure(&[&debian], options, &folder, &mut report)?;
    } else {
        let disk = ours::state_disk(&folder, &peer.key, &prober)?;
        let mut ours = our_side("ours", small_boot()?, &disk, &peer)?;
        ours.machine = ours
            .machine
            .with_disk(&Disk::existing(&artefact("ros.iso")?));
        measure(&[&ours, &debian], options, &folder, &mut report)?;
        measure_variants(options, &disk, &peer, &folder, &mut report)?;
        add_sizes(&mut report)?;
    }
    if !options.skip_rebuild && !options.debian_only {
        report.rebuild_s = Some(rebuild()?);
    }
    let budgets = budget::read(&repository().join("qemu-tests/budgets.toml"))?;
    println!("{}", report.table(&budgets));
    write_json(&report)?;
    Ok(budget::complaints(&budgets, &report.figures()))
}

const METHOD: &str = "q35, TCG, 2 processors, 2 GiB; kernel and (small) initrd loaded by QEMU, root image and state on disks that have \
    been booted once before, their writes dropped after each boot; seconds from the start of the QEMU process to the prober's line on the serial console";

/// Warms both sides up, then boots them in turns.
fn measure(sides: &[&Side<'_>], options: &Options, logs: &Path, report: &mut Report) -> Result<()> {
    for side in sides {
        eprintln!("bench: first boot of {}", side.name);
        let sample = warm_up(side, logs)?;
        report
            .samples
            .insert(format!("{}-first-boot", side.name), vec![sample]);
    }
    let memory = Memory::After(Duration::from_secs(options.idle));
    for number in 1..=options.runs {
        for side in sides {
            let sample = boot(&settled(side), memory, logs)?;
            eprintln!(
                "bench: {number}/{} {}: docker version after {:.1} s",
                options.runs, side.name, sample.version_s
            );
            report
                .samples
                .entry(side.name.to_owned())
                .or_default()
                .push(sample);
        }
    }
    Ok(())
}

/// The other ways to start ours. Memory is read in the first round alone: it hardly differs, and takes a minute each.
fn measure_variants(
    options: &Options,
    disk: &Disk,
    peer: &Peer,
    folder: &Path,
    report: &mut Report,
) -> Result<()> {
    let drive = ours::iso_config_drive(folder, &peer.key)?;
    for number in 1..=options.variant_runs {
        let variants = [
            ("ours-from-ram", direct_boot()?),
            ("ours-iso-bios", bios_boot(Slot::Cd)?),
            ("ours-iso-uefi", uefi_boot(Slot::Cd, folder)?),
        ];
        for (name, way) in variants {
            let from_medium = matches!(way, Boot::Medium { .. });
            let mut side = our_side(name, way, disk, peer)?;
            if from_medium {
                side.machine = side.machine.with_config_drive(&drive);
            }
            let memory = match number {
                1 => Memory::After(Duration::from_secs(options.idle)),
                _ => Memory::Skip,
            };
            let sample = boot(&settled(&side), memory, folder)?;
            eprintln!(
                "bench: {number}/{} {name}: docker version after {:.1} s",
                options.variant_runs, sample.version_s
            );
            report
                .samples
                .entry(name.to_owned())
                .or_default()
                .push(sample);
        }
    }
    Ok(())
}

/// The same side with disks that forget.
fn settled<'a>(side: &Side<'a>) -> Side<'a> {
    let mut machine = side.machine.clone();
    machine.writes = Writes::Dropped;
    Side { machine, ..*side }
}

fn our_side<'a>(name: &'a str, way: Boot, disk: &Disk, peer: &'a Peer) -> Result<Side<'a>> {
    let port = free_port()?;
    let machine = Machine::new(name, way)
        .with_word(format!("rancher.state.dev=LABEL={STATE_LABEL}"))
        .with_disk(disk)
        .with_nic(user_nic(port, &[]));
    Ok(Side {
        name,
        machine,
        key: &peer.key,
        port,
        milestones: ours::MILESTONES,
        phases: ours::PHASES,
    })
}

fn debian_side(peer: &Peer) -> Result<Side<'_>> {
    let port = free_port()?;
    let way = Boot::Direct {
        kernel: peer.kernel.clone(),
        initrd: peer.initrd.clone(),
    };
    let machine = Machine::new("debian", way)
        .with_word("root=/dev/vda")
        .with_word("ro")
        .with_disk(&peer.disk)
        .with_nic(user_nic(port, &[]));
    let phases = "systemd-analyze time; systemd-analyze blame --no-pager | head -15";
    Ok(Side {
        name: "debian",
        machine,
        key: &peer.key,
        port,
        milestones: peer::MILESTONES,
        phases,
    })
}

fn build_prober() -> Result<PathBuf> {
    Tool::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--release",
            "-p",
            "qemu-tests",
            "--bin",
            "guest",
            "--manifest-path",
        ])
        .arg(repository().join("Cargo.toml"))
        .run()?;
    let own = std::env::current_exe().map_err(HarnessError::file("find this program", "bench"))?;
    // A debug bench lies beside the release folder, a release bench in it; both are siblings below the target folder.
    let target = own
        .parent()
        .and_then(Path::parent)
        .unwrap_or(Path::new("target"));
    Ok(target.join("release/guest"))
}

/// Seconds from a changed source of init to a new initrd. The change reaches the binary: a new date on the same text would not.
fn rebuild() -> Result<f64> {
    let source = ChangedSource::new(repository().join("init/src/main.rs"))?;
    let start = Instant::now();
    build_initrd()?;
    let seconds = start.elapsed().as_secs_f64();
    drop(source);
    // The artefacts shall be those of the source as it is.
    build_initrd()?;
    Ok(seconds)
}

fn build_initrd() -> Result<()> {
    let build = Tool::new(env!("CARGO")).args(["run", "--quiet", "--package", "image-build"]);
    let manifest = repository().join("Cargo.toml");
    build
        .arg("--manifest-path")
        .arg(manifest)
        .args(["--", "initrd"])
        .run()
        .map(drop)
}

/// A source file with a line more, which goes away with this value.
struct ChangedSource {
    file: PathBuf,
    text: String,
}

impl ChangedSource {
    fn new(file: PathBuf) -> Result<Self> {
        let text = std::fs::read_to_string(&file)
            .map_err(HarnessError::file("read init's source", &file))?;
        let age = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let stamp = age.map(|age| age.as_nanos()).unwrap_or_default();
        let changed = format!("{text}\n#[used]\nstatic BENCH: u128 = {stamp};\n");
        std::fs::write(&file, changed)
            .map_err(HarnessError::file("change init's source", &file))?;
        Ok(Self { file, text })
    }
}

impl Drop for ChangedSource {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(&self.file, &self.text) {
            eprintln!(
                "bench: put {} back: git checkout it ({error})",
                self.file.display()
            );
        }
    }
}

fn add_sizes(report: &mut Report) -> Result<()> {
    for name in ["ros.iso", "vmlinuz", "initrd"] {
        let file = artefact(name)?;
        let data =
            std::fs::metadata(&file).map_err(HarnessError::file("measure artefact", &file))?;
        report.sizes.insert(name.to_owned(), data.len());
    }
    Ok(())
}

fn write_json(report: &Report) -> Result<()> {
    let file = build_folder().join("bench.json");
    let text = serde_json::to_string_pretty(report).map_err(|error| HarnessError::Form {
        what: "bench report",
        detail: error.to_string(),
    })?;
    std::fs::write(&file, text).map_err(HarnessError::file("write bench report", &file))
}
