//! Runs iptables-save and iptables-restore: those of the variant (legacy or nft) that Docker's chains are in. Knows nothing of rules.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::firewall::{Chains, Family, Loaded, parse};

/// The host's own choice first.
const VARIANTS: [&str; 3] = ["", "-nft", "-legacy"];
/// A program that waits longer for the lock of another one is stopped, and run again in the next round.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the firewall cannot be set.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program cannot be run.
    #[error("cannot run {0}: install iptables")]
    Start(String, #[source] std::io::Error),
    /// A program failed.
    #[error("{0} failed: {1}")]
    Failed(String, String),
    /// A program took too long.
    #[error("{0} did not end within {limit} s: does another program hold iptables' lock?", limit = PATIENCE.as_secs())]
    Hung(String),
}

/// Rules as they were loaded, and as iptables-save spells them.
#[derive(Debug)]
struct Spelled {
    wanted: Vec<String>,
    saved: Vec<String>,
}

/// The firewall of this host.
#[derive(Debug, Default)]
pub struct Iptables {
    /// Which variant; none: not found out yet.
    variant: Option<&'static str>,
    /// Rules of chains, by table and chain.
    spelled: BTreeMap<(Family, String, String), Spelled>,
}

impl Iptables {
    /// What is loaded.
    ///
    /// # Errors
    /// When iptables-save does not run.
    pub async fn observe(&mut self, family: Family) -> Result<Loaded, Error> {
        let mut loaded = match self.variant {
            Some(variant) => parse(&save(family, variant).await?),
            None => Loaded::default(),
        };
        // Docker may have been started, or set to the other variant, since.
        if !loaded.docker_user && family == Family::V4 {
            loaded = self.choose().await?;
        }
        for ((table, chain), rules) in &mut loaded.chains {
            let key = (family, table.clone(), chain.clone());
            if let Some(spelled) = self.spelled.get(&key)
                && spelled.saved == *rules
            {
                rules.clone_from(&spelled.wanted);
            }
        }
        Ok(loaded)
    }

    async fn choose(&mut self) -> Result<Loaded, Error> {
        let usual = parse(&save(Family::V4, VARIANTS[0]).await?);
        self.variant = Some(VARIANTS[0]);
        if usual.docker_user {
            return Ok(usual);
        }
        for variant in &VARIANTS[1..] {
            // The usual one may be the only one.
            if let Ok(text) = save(Family::V4, variant).await {
                let loaded = parse(&text);
                if loaded.docker_user {
                    self.variant = Some(variant);
                    return Ok(loaded);
                }
            }
        }
        Ok(usual)
    }

    /// Loads `text`; `wanted` is what is there then.
    ///
    /// # Errors
    /// When iptables-restore refuses. Tables before the refused one are loaded then.
    pub async fn load(&mut self, family: Family, text: &str, wanted: &Chains) -> Result<(), Error> {
        let variant = self.variant.unwrap_or_default();
        let program = format!("{}{variant}-restore", name(family));
        run(&program, &["--noflush", "-w", "5"], text).await?;
        let mut loaded = parse(&save(family, variant).await?).chains;
        for ((table, chain), rules) in wanted {
            let saved = loaded
                .remove(&(table.clone(), chain.clone()))
                .unwrap_or_default();
            let wanted = rules.clone();
            let key = (family, table.clone(), chain.clone());
            self.spelled.insert(key, Spelled { wanted, saved });
        }
        Ok(())
    }

    /// Removes what is ours from every variant and family.
    ///
    /// # Errors
    /// When something stays.
    pub async fn take_down() -> Result<(), Error> {
        for family in [Family::V4, Family::V6] {
            for variant in VARIANTS {
                // A variant that is not installed holds nothing.
                let Ok(text) = save(family, variant).await else {
                    continue;
                };
                if let Some(text) = super::firewall::change(&Chains::new(), &parse(&text)) {
                    let program = format!("{}{variant}-restore", name(family));
                    run(&program, &["--noflush", "-w", "5"], &text).await?;
                }
            }
        }
        Ok(())
    }
}

fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

async fn save(family: Family, variant: &str) -> Result<String, Error> {
    run(&format!("{}{variant}-save", name(family)), &[], "").await
}

async fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, Error> {
    let start = |error| Error::Start(program.to_owned(), error);
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(start)?;
    let finish = async {
        if let Some(mut stdin) = child.stdin.take() {
            // One that reads nothing says why by its status.
            stdin.write_all(input.as_bytes()).await.ok();
        }
        child.wait_with_output().await
    };
    let Ok(output) = tokio::time::timeout(PATIENCE, finish).await else {
        return Err(Error::Hung(program.to_owned()));
    };
    let output = output.map_err(start)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr)
        .trim()
        .replace('\n', "; ");
    Err(Error::Failed(program.to_owned(), said))
}
