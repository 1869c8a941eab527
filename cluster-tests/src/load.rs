//! A running load between containers: requests one after the other, each counted. Owns the process in the asking container.

use qemu_tests::judge::ensure;
use qemu_tests::{HarnessError, Result};

use crate::node::Node;

/// Requests that have been made by one container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Answered.
    pub good: u64,
    /// Not answered within two seconds.
    pub bad: u64,
}

/// A container that asks.
pub struct Load<'a> {
    node: &'a Node,
    from: String,
    file: String,
}

impl<'a> Load<'a> {
    /// Lets the container `from` ask `url` about twenty times a second, until its host ends or [`Load::stop`].
    ///
    /// # Errors
    /// When Docker does not start it.
    pub fn start(node: &'a Node, from: &str, url: &str) -> Result<Self> {
        let number = url.bytes().fold(7u32, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(byte.into())
        });
        let file = format!("/tmp/load-{number}");
        let script = format!(
            "rm -f {file} {file}.end; while [ ! -e {file}.end ]; do if wget -q -T 2 -O /dev/null {url} 2>>{file}.why; then echo good; else echo bad; date; fi >> {file}; sleep 0.05; done"
        );
        node.docker(&["exec", "-d", from, "sh", "-c", &script])?;
        Ok(Self {
            node,
            from: from.to_owned(),
            file,
        })
    }

    /// What it has counted so far.
    ///
    /// # Errors
    /// When the container does not run.
    pub fn counts(&self) -> Result<Counts> {
        let script = format!(
            "touch {0}; grep -c good {0}; grep -c bad {0}; true",
            self.file
        );
        let text = self.node.in_container(&self.from, &["sh", "-c", &script])?;
        let mut numbers = text.lines().map(str::parse::<u64>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(good)), Some(Ok(bad))) => Ok(Counts { good, bad }),
            _ => Err(HarnessError::Form {
                what: "a load's counts",
                detail: text,
            }),
        }
    }

    /// Passes when it has been answered at least `least` times since `before`, and always.
    ///
    /// # Errors
    /// With the counts, and why requests have failed.
    pub fn undisturbed_since(&self, before: Counts, least: u64) -> Result<()> {
        let now = self.counts()?;
        let (good, bad) = (now.good - before.good, now.bad - before.bad);
        let why = || {
            let words = ["tail", "-n", "5", &format!("{}.why", self.file)];
            self.node
                .in_container(&self.from, &words)
                .unwrap_or_default()
        };
        ensure(bad == 0 && good >= least, || {
            format!("{good} requests were answered, {bad} were not: {}", why())
        })
    }

    /// Ends it.
    ///
    /// # Errors
    /// When the container does not run.
    pub fn stop(&self) -> Result<()> {
        let end = format!("{}.end", self.file);
        self.node
            .in_container(&self.from, &["touch", &end])
            .map(drop)
    }
}
