//! The `iptables` step: a static `xtables-legacy-multi` from Debian's source package. Docker forks it more than a hundred times
//! at a cold start, and a static program starts several times faster than Debian's dynamic nft one.

use std::fs;
use std::path::{Path, PathBuf};

use crate::apt::Apt;
use crate::context::{Context, fresh_dir};
use crate::error::{Result, file, missing};
use crate::hash::Inputs;

/// The built program and where it comes from.
pub struct Iptables {
    /// `xtables-legacy-multi`.
    pub program: PathBuf,
    /// Version of the source package.
    pub version: String,
}

/// Runs the step.
pub fn build(context: &Context, apt: &Apt) -> Result<Iptables> {
    let version = apt.source_version("iptables")?;
    let compiler = context
        .run("iptables", "gcc")
        .arg("-dumpfullversion")
        .output()?;
    let mut inputs = Inputs::default();
    inputs
        .value("format", 1)
        .value("version", &version)
        .value("compiler", String::from_utf8_lossy(&compiler));
    let dir = context.cached("iptables", &inputs, |dir| {
        let work = context.cache.join("iptables").join(".source");
        fresh_dir(&work)?;
        apt.fetch_source("iptables", &work)?;
        compile(context, &work)?;
        let built = work.join("src/iptables/xtables-legacy-multi");
        let target = dir.join("xtables-legacy-multi");
        context
            .run("iptables", "strip")
            .args(["-s", "-o"])
            .arg(&target)
            .arg(&built)
            .go()?;
        fs::remove_dir_all(&work).map_err(file("remove", &work))
    })?;
    Ok(Iptables {
        program: dir.join("xtables-legacy-multi"),
        version,
    })
}

fn compile(context: &Context, work: &Path) -> Result<()> {
    let source = work.join("src");
    fresh_dir(&source)?;
    // The upstream release as it is: Debian's patches concern the nft variant and the manual, which are not built here.
    let unpack = context
        .run("iptables", "tar")
        .args(["--strip-components=1", "-C"])
        .arg(&source);
    unpack.arg("-xf").arg(tarball(work)?).go()?;
    let configure = context
        .run("iptables", "./configure")
        .dir(&source)
        .env("CFLAGS", "-Os -ffile-prefix-map=.=iptables");
    let switches = [
        "--quiet",
        "--disable-shared",
        "--enable-static",
        "--disable-nftables",
        "--disable-connlabel",
        "--disable-devel",
    ];
    configure
        .env("SOURCE_DATE_EPOCH", context.settings.epoch.to_string())
        .args(switches)
        .arg("--prefix=/usr")
        .go()?;
    // -all-static is libtool's word for a program without a dynamic loader.
    context
        .run("iptables", "make")
        .dir(&source)
        .args(["-s", "-j2", "LDFLAGS=-all-static"])
        .go()
}

fn tarball(work: &Path) -> Result<PathBuf> {
    for entry in fs::read_dir(work).map_err(file("read", work))? {
        let path = entry.map_err(file("read", work))?.path();
        if path.to_string_lossy().contains(".orig.tar.") {
            return Ok(path);
        }
    }
    Err(missing(
        "apt-get source left no upstream tar",
        "See build/log/packages.log.",
    ))
}
