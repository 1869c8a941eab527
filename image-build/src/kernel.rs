//! The `kernel` step: Debian's kernel source, our configuration, a build that is the same wherever and whenever it runs.

use std::fs;
use std::path::{Path, PathBuf};

use crate::apt::Apt;
use crate::context::{Context, fresh_dir};
use crate::control::Package;
use crate::error::{Result, file, missing};
use crate::hash::Inputs;
use crate::kconfig;
use crate::root::created;
use crate::run::Run;

/// A built kernel.
pub struct Kernel {
    /// Folder with `vmlinuz`, `config` and `modules/lib/modules/<release>`.
    pub dir: PathBuf,
    /// The source package.
    pub source: Package,
    /// `uname -r`.
    pub release: String,
}

/// Runs the step.
pub fn build(context: &Context, apt: &Apt) -> Result<Kernel> {
    let name = context.settings.kernel_package.clone();
    let source = apt
        .show(std::slice::from_ref(&name))?
        .remove(&name)
        .ok_or_else(|| {
            missing(
                format!("no package {name} in {}", context.settings.suite),
                "Correct kernel_package in image-build/settings.toml.",
            )
        })?;
    let folder = context.repo.join("kernel-config");
    let mut inputs = Inputs::default();
    inputs
        .value("format", 1)
        .value("source", &source.sha256)
        .value("epoch", context.settings.epoch);
    inputs.value(
        "compiler",
        first_line(context.run("kernel", "gcc").arg("--version"))?,
    );
    inputs.value(
        "linker",
        first_line(context.run("kernel", "ld").arg("--version"))?,
    );
    for path in kconfig::fragments(&folder.join("fragments"))? {
        inputs.file(
            &path.file_name().unwrap_or_default().to_string_lossy(),
            &path,
        )?;
    }
    let dir = context.cached("kernel", &inputs, |dir| {
        let deb = apt.fetch(&source)?;
        let tree = context.cache.join("kernel").join(".source");
        unpack(context, &deb, &name, &tree)?;
        compile(context, &tree.join(&name), dir)?;
        fs::remove_dir_all(&tree).map_err(file("remove", &tree))
    })?;
    kconfig::check(&dir.join("config"), &folder)?;
    let release = release(&dir.join("modules/lib/modules"))?;
    context.say("kernel", &format!("{release} (source {})", source.version));
    Ok(Kernel {
        dir,
        source,
        release,
    })
}

fn unpack(context: &Context, deb: &Path, name: &str, tree: &Path) -> Result<()> {
    fresh_dir(tree)?;
    context
        .run("kernel", "dpkg-deb")
        .arg("-x")
        .arg(deb)
        .arg(tree)
        .go()?;
    let archive = tree.join(format!("usr/src/{name}.tar.xz"));
    context.say("kernel", "unpacking the source");
    context
        .run("kernel", "tar")
        .arg("-xf")
        .arg(&archive)
        .arg("-C")
        .arg(tree)
        .go()
}

fn compile(context: &Context, source: &Path, out: &Path) -> Result<()> {
    let make = |context: &Context| {
        context
            .run("kernel", "make")
            .dir(source)
            .args(fixed(context))
            .env("PATH", path_with_ccache())
    };
    let folder = context.repo.join("kernel-config");
    make(context).args(["-s", "tinyconfig"]).go()?;
    let merge = context
        .run("kernel", "scripts/kconfig/merge_config.sh")
        .dir(source)
        .env("ARCH", "x86_64");
    merge
        .args(["-m", ".config"])
        .args(kconfig::fragments(&folder.join("fragments"))?)
        .go()?;
    make(context).args(["-s", "olddefconfig"]).go()?;
    // Before half an hour of compiling, not after it.
    kconfig::check(&source.join(".config"), &folder)?;
    let jobs = std::thread::available_parallelism().map_or(2, usize::from);
    context.say(
        "kernel",
        &format!("compiling with {jobs} jobs: 15 to 25 minutes on two cores, less with ccache"),
    );
    make(context)
        .args([&format!("-j{jobs}"), "bzImage", "modules"])
        .go()?;
    let modules = out.join("modules");
    make(context)
        .args(["-s", "INSTALL_MOD_STRIP=1"])
        .arg(format!("INSTALL_MOD_PATH={}", modules.display()))
        .arg("modules_install")
        .go()?;
    for (from, to) in [("arch/x86/boot/bzImage", "vmlinuz"), (".config", "config")] {
        let (from, to) = (source.join(from), out.join(to));
        fs::copy(&from, &to).map_err(file("copy", &from))?;
    }
    drop_build_links(&modules.join("lib/modules"))
}

/// What would otherwise name this machine, its user and the hour in the kernel.
fn fixed(context: &Context) -> [String; 6] {
    [
        "ARCH=x86_64".into(),
        "KBUILD_BUILD_USER=ros".into(),
        "KBUILD_BUILD_HOST=rancheros".into(),
        "KBUILD_BUILD_VERSION=1".into(),
        format!("KBUILD_BUILD_TIMESTAMP={}", created(context.settings.epoch)),
        "LOCALVERSION=".into(),
    ]
}

/// ccache's compiler links come first where the machine has them.
fn path_with_ccache() -> String {
    let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    if Path::new("/usr/lib/ccache").is_dir() {
        format!("/usr/lib/ccache:{path}")
    } else {
        path
    }
}

fn first_line(run: Run) -> Result<String> {
    let out = run.output()?;
    Ok(String::from_utf8_lossy(&out)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned())
}

fn release(modules: &Path) -> Result<String> {
    let mut entries = fs::read_dir(modules).map_err(file("read", modules))?;
    match entries.next() {
        Some(Ok(entry)) => Ok(entry.file_name().to_string_lossy().into_owned()),
        _ => Err(missing(
            "the kernel installed no modules",
            "See build/log/kernel.log.",
        )),
    }
}

/// `build` and `source` point into the tree that is about to be removed.
fn drop_build_links(modules: &Path) -> Result<()> {
    let folder = modules.join(release(modules)?);
    for name in ["build", "source"] {
        let link = folder.join(name);
        if link.is_symlink() {
            fs::remove_file(&link).map_err(file("remove", &link))?;
        }
    }
    Ok(())
}
