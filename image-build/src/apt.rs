//! A private apt: its own lists and settings in the cache, the machine's mirrors, Debian's keys. Never touches the machine's own apt state.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::context::{Context, write_if_changed};
use crate::control::{self, Package};
use crate::error::{Result, data, file, missing};
use crate::hash;
use crate::run::Run;
use crate::sources;

/// The private apt of one suite.
pub struct Apt<'a> {
    context: &'a Context,
    root: PathBuf,
}

impl<'a> Apt<'a> {
    /// Sets it up in the cache and fetches the package lists when they are missing or old.
    pub fn open(context: &'a Context) -> Result<Self> {
        let root = context.cache.join("apt").join(&context.settings.suite);
        let apt = Self { context, root };
        for dir in [
            "lists/partial",
            "archives/partial",
            "etc/preferences.d",
            "log",
        ] {
            let dir = apt.root.join(dir);
            fs::create_dir_all(&dir).map_err(file("create", &dir))?;
        }
        let list = sources::render(
            &sources::find(Path::new("/etc/apt"))?,
            &context.settings.suite,
        );
        let changed = fs::read_to_string(apt.root.join("sources.list"))
            .ok()
            .as_deref()
            != Some(&list);
        write_if_changed(&apt.root.join("sources.list"), list.as_bytes())?;
        write_if_changed(&apt.root.join("status"), b"")?;
        write_if_changed(&apt.root.join("apt.conf"), apt.config()?.as_bytes())?;
        if changed || apt.is_stale() {
            apt.refresh()?;
        }
        Ok(apt)
    }

    /// Fetches the package lists; apt checks their signatures.
    pub fn refresh(&self) -> Result<()> {
        self.context.say(
            "packages",
            &format!(
                "fetching the package lists of {}",
                self.context.settings.suite
            ),
        );
        self.tool("apt-get").args(["-q", "update"]).go()?;
        let stamp = self.root.join("updated");
        fs::write(&stamp, "").map_err(file("write", &stamp))
    }

    /// The candidates for `names`; a name the suite does not have is left out.
    pub fn show(&self, names: &[String]) -> Result<BTreeMap<String, Package>> {
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        // apt-cache fails when one of the names is unknown, after it has shown all others.
        let out = self
            .tool("sh")
            .args(["-c", "apt-cache show --no-all-versions \"$@\" || :", "sh"])
            .args(names);
        Ok(control::parse(&String::from_utf8_lossy(&out.output()?)))
    }

    /// The verified .deb of a package, downloaded unless the cache has it.
    pub fn fetch(&self, package: &Package) -> Result<PathBuf> {
        let dir = self.context.cache.join("debs");
        let path = dir.join(format!("{}-{}", &package.sha256[..16], package.file));
        if path.is_file() {
            return Ok(path);
        }
        self.context.say(
            "packages",
            &format!("downloading {} {}", package.name, package.version),
        );
        let scratch = dir.join(format!(".{}", package.name));
        crate::context::fresh_dir(&scratch)?;
        let wanted = format!("{}={}", package.name, package.version);
        self.tool("apt-get")
            .args(["-q", "download", &wanted])
            .dir(&scratch)
            .go()?;
        let mut entries = fs::read_dir(&scratch).map_err(file("read", &scratch))?;
        let Some(Ok(entry)) = entries.next() else {
            return Err(missing(
                format!("apt-get download {wanted} left no file"),
                "Try `image-build packages --refresh`.",
            ));
        };
        let got = hash::of_file(&entry.path())?;
        if got != package.sha256 {
            return Err(data(
                &entry.path(),
                format!("SHA-256 is {got}, the signed index says {}", package.sha256),
            ));
        }
        fs::rename(entry.path(), &path).map_err(file("move to", &path))?;
        fs::remove_dir(&scratch).map_err(file("remove", &scratch))?;
        Ok(path)
    }

    /// Downloads the upstream release of a source package into `dir`; apt checks its hash against the signed index.
    pub fn fetch_source(&self, name: &str, dir: &Path) -> Result<()> {
        self.tool("apt-get")
            .args(["-q", "source", "--download-only", "--tar-only", name])
            .dir(dir)
            .go()
    }

    /// Version of a source package in this suite.
    pub fn source_version(&self, name: &str) -> Result<String> {
        let out = self
            .tool("apt-cache")
            .args(["showsrc", "--only-source", name])
            .output()?;
        let text = String::from_utf8_lossy(&out).into_owned();
        let mut versions = text.lines().filter_map(|l| l.strip_prefix("Version: "));
        versions.next_back().map(str::to_owned).ok_or_else(|| {
            missing(
                format!(
                    "no source package {name} in {}",
                    self.context.settings.suite
                ),
                "Is the suite's name right?",
            )
        })
    }

    /// Tells one state of the package lists from another.
    pub fn stamp(&self) -> Result<String> {
        let mut releases = Vec::new();
        let lists = self.root.join("lists");
        for entry in fs::read_dir(&lists).map_err(file("read", &lists))? {
            let path = entry.map_err(file("read", &lists))?.path();
            if path.to_string_lossy().ends_with("InRelease") {
                releases.push(hash::of_file(&path)?);
            }
        }
        releases.sort();
        Ok(releases.join(" "))
    }

    fn tool(&self, program: &str) -> Run {
        self.context
            .run("packages", program)
            .env("APT_CONFIG", self.root.join("apt.conf"))
    }

    fn is_stale(&self) -> bool {
        let age = fs::metadata(self.root.join("updated"))
            .and_then(|m| m.modified())
            .map(|t| SystemTime::now().duration_since(t).unwrap_or_default());
        age.map_or(true, |age| {
            age > Duration::from_secs(self.context.settings.refresh_hours * 3600)
        })
    }

    fn config(&self) -> Result<String> {
        let root = self.root.display();
        let machine = self
            .context
            .run("packages", "apt-config")
            .args(["dump", "Acquire"])
            .output()?;
        let machine = String::from_utf8_lossy(&machine).into_owned();
        let mut lines = vec![
            format!("Dir::State \"{root}\";"),
            format!("Dir::State::lists \"{root}/lists\";"),
            format!("Dir::State::status \"{root}/status\";"),
            format!("Dir::Cache \"{root}\";"),
            format!("Dir::Log \"{root}/log\";"),
            format!("Dir::Etc \"{root}/etc\";"),
            format!("Dir::Etc::SourceList \"{root}/sources.list\";"),
            format!(
                "Acquire::Check-Valid-Until \"{}\";",
                self.context.settings.check_valid_until
            ),
            "Dir::Etc::SourceParts \"/dev/null\";".to_owned(),
            "Dir::Etc::Parts \"/dev/null\";".to_owned(),
            "APT::Architecture \"amd64\"; APT::Architectures { \"amd64\"; };".to_owned(),
            "APT::Sandbox::User \"root\"; Acquire::Languages \"none\"; Acquire::Retries \"3\";"
                .to_owned(),
        ];
        // Nothing of the machine's own set-up counts, except the way out of its network.
        lines.extend(
            machine
                .lines()
                .filter(|l| l.contains("Proxy"))
                .map(str::to_owned),
        );
        Ok(lines.join("\n") + "\n")
    }
}
