//! Command line of the image build. Parses, calls the steps in order, prints the chain of causes of a failure; builds nothing itself.

mod apt;
mod context;
mod control;
mod cpio;
mod digest;
mod elf;
mod error;
mod fixed;
mod hash;
mod images;
mod initrd;
mod iptables;
mod iso;
mod kconfig;
mod kernel;
mod layers;
mod manifest;
mod menu;
mod osconfig;
mod packages;
mod resolve;
mod root;
mod run;
mod sbom;
mod sizes;
mod sources;
mod spec;
mod stub;
mod tarball;
mod tree;
mod unpack;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::apt::Apt;
use crate::context::Context;
use crate::error::Result;
use crate::iptables::Iptables;
use crate::kernel::Kernel;
use crate::manifest::Facts;
use crate::packages::Packages;
use crate::root::{Parts, Root};

/// Builds RancherOS: kernel, root image, initrd and ISO, with a manifest and an SBOM.
#[derive(Parser)]
struct Arguments {
    /// Override a value of image-build/settings.toml, e.g. `--set suite=testing`.
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Compress the root image quickly rather than well (for work on the code).
    #[arg(long, global = true)]
    quick: bool,
    #[command(subcommand)]
    step: Step,
}

#[derive(Subcommand, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Everything.
    All,
    /// Download, check and unpack the packages.
    Packages {
        /// Fetch the package lists first, however new they are.
        #[arg(long)]
        refresh: bool,
    },
    /// Build the kernel: build/vmlinuz.
    Kernel,
    /// Build the static iptables.
    Iptables,
    /// Compile `ros` and `init`.
    Programs,
    /// Build the root image.
    Root,
    /// Build build/vmlinuz and build/initrd.
    Initrd,
    /// Build build/ros.iso (and what it needs).
    Iso,
    /// Print what takes how much of the image.
    Sizes,
    /// Print the layers and how many files of which size they hold.
    List,
    /// Remove build/ (and with --cache what the cache holds).
    Clean {
        /// Remove the cache too: the next build starts from nothing.
        #[arg(long)]
        cache: bool,
    },
}

fn main() -> ExitCode {
    match go(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("image-build: {error}");
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn go(arguments: &Arguments) -> Result<()> {
    let mut context = Context::new(&arguments.set)?;
    if arguments.quick {
        context.settings.squashfs_level = context.settings.squashfs_quick_level;
        context.settings.cargo_profile = context.settings.cargo_quick_profile.clone();
    }
    if let Step::Clean { cache } = arguments.step {
        return clean(&context, cache);
    }
    let apt = Apt::open(&context)?;
    match arguments.step {
        Step::Packages { refresh } => {
            if refresh {
                apt.refresh()?;
            }
            packages::prepare(&context, &apt).map(drop)
        }
        Step::Kernel => kernel_image(&context, &apt).map(drop),
        Step::Iptables => iptables::build(&context, &apt).map(drop),
        Step::Programs => programs(&context).map(drop),
        Step::Root => build_root(&context, &apt).map(drop),
        Step::List => build_root(&context, &apt).and_then(|built| list(&built.root)),
        Step::Initrd => {
            let built = build_root(&context, &apt)?;
            initrd::build(&context, &built.programs["init"], &built.root).map(drop)
        }
        Step::Iso | Step::All => all(&context, &apt).map(drop),
        Step::Sizes => {
            let built = all(&context, &apt)?;
            sizes::print(&context, &sizes::parts(&context, &built.root.tree)?);
            Ok(())
        }
        Step::Clean { .. } => Ok(()),
    }
}

/// What `build_root` made and used.
struct Built {
    packages: Packages,
    kernel: Kernel,
    iptables: Iptables,
    root: Root,
    programs: BTreeMap<String, PathBuf>,
}

fn build_root(context: &Context, apt: &Apt) -> Result<Built> {
    let packages = packages::prepare(context, apt)?;
    let iptables = iptables::build(context, apt)?;
    let kernel = kernel_image(context, apt)?;
    let programs = programs(context)?;
    let built = BTreeMap::from([
        ("ros".to_owned(), programs["ros"].clone()),
        ("iptables".to_owned(), iptables.program.clone()),
    ]);
    let parts = Parts {
        built,
        modules: kernel.dir.join("modules"),
        version: version(),
    };
    let root = root::build(context, &packages, &parts)?;
    Ok(Built {
        packages,
        kernel,
        iptables,
        root,
        programs,
    })
}

/// Kernel, initrd, ISO, manifest and SBOM.
fn all(context: &Context, apt: &Apt) -> Result<Built> {
    let built = build_root(context, apt)?;
    let small_initrd = initrd::build(context, &built.programs["init"], &built.root)?;
    let version = version();
    let medium = iso::Medium {
        kernel: &context.build.join("vmlinuz"),
        initrd: &small_initrd,
        squashfs: &built.root.squashfs,
        image_id: &built.root.image_id,
        version: &version,
    };
    iso::build(context, &medium)?;
    let facts = Facts {
        packages: &built.packages,
        kernel: &built.kernel,
        iptables: &built.iptables.version,
        root: &built.root,
        version: &version,
    };
    manifest::write(context, &facts)?;
    sbom::write(context, &facts)?;
    context.say("manifest", "build/manifest.json and build/sbom.spdx.json");
    Ok(built)
}

fn version() -> String {
    format!("v{}", env!("CARGO_PKG_VERSION"))
}

fn kernel_image(context: &Context, apt: &Apt) -> Result<Kernel> {
    let kernel = kernel::build(context, apt)?;
    root::publish(&kernel.dir.join("vmlinuz"), &context.build.join("vmlinuz"))?;
    Ok(kernel)
}

/// Compiles our two static programs; cargo knows what changed.
fn programs(context: &Context) -> Result<BTreeMap<String, PathBuf>> {
    let profile = &context.settings.cargo_profile;
    context.say(
        "programs",
        &format!("cargo build --profile {profile} -p ros -p init"),
    );
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut run = context.run("programs", &cargo).dir(&context.repo);
    // What `cargo run` tells this program about itself would look like a change to build scripts, and half of `ros` be compiled again.
    let about_us = |name: &str| {
        [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_CRATE_",
            "CARGO_BIN_",
        ]
        .iter()
        .any(|p| name.starts_with(p))
    };
    for (name, _) in std::env::vars().filter(|(name, _)| about_us(name)) {
        run = run.env_remove(&name);
    }
    run.args(["build", "--profile", profile, "--locked"])
        // Without the server: hosts of a cluster need the agent, and the image has a size to keep to.
        .args(["-p", "ros", "-p", "init", "--no-default-features"])
        .args(["--config", &same_wherever(&context.repo)])
        .go()?;
    let folder = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| context.repo.join("target"), PathBuf::from);
    let folder = folder.join("x86_64-unknown-linux-gnu").join(profile);
    Ok(["ros", "init"]
        .iter()
        .map(|name| ((*name).to_owned(), folder.join(name)))
        .collect())
}

/// A setting for cargo that keeps the folders of this machine, which stand in the messages of panics, out of the programs: the same
/// sources make the same image wherever they lie. It is added to the flags of `.cargo/config.toml`.
fn same_wherever(repo: &Path) -> String {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let registry = std::env::var_os("CARGO_HOME").map(PathBuf::from).or(home);
    let flags: Vec<String> = [
        (Some(repo.to_path_buf()), "/rancheros"),
        (registry, "/cargo"),
    ]
    .into_iter()
    .filter_map(|(from, to)| Some(format!("\"--remap-path-prefix={}={to}\"", from?.display())))
    .collect();
    format!(
        "target.x86_64-unknown-linux-gnu.rustflags=[{}]",
        flags.join(", ")
    )
}

fn list(root: &Root) -> Result<()> {
    for (layer, digest) in &root.layers {
        println!(
            "{:10} {:5} files {:12} bytes  {}",
            layer.name,
            layer.tree.len(),
            digest.size,
            digest.diff_id
        );
        for (path, node) in layer.tree.iter() {
            println!("    {:04o} {}:{} {path}", node.mode, node.uid, node.gid);
        }
    }
    Ok(())
}

fn clean(context: &Context, cache: bool) -> Result<()> {
    let mut folders = vec![context.build.clone()];
    if cache {
        folders.push(context.cache.clone());
    }
    for folder in folders {
        std::fs::remove_dir_all(&folder).map_err(error::file("remove", &folder))?;
    }
    Ok(())
}
