//! The children of PID 1 that somebody waits for. Everything else that ends is an orphan and is simply reaped.

use std::collections::{HashMap, HashSet};

use kernel::process::{Exit, reap};

/// Who is waited for, and who of them has ended.
#[derive(Debug, Default)]
pub struct Children {
    watched: HashSet<u32>,
    ended: HashMap<u32, Exit>,
}

impl Children {
    /// Keeps the exit status of `pid` until [`Children::take`] asks for it. Call it right after the spawn, before anything reaps.
    pub fn watch(&mut self, pid: u32) {
        self.watched.insert(pid);
    }

    /// Reaps all that have ended. Returns those that nobody watches, supervised daemons among them.
    pub fn reap_all(&mut self) -> Vec<(u32, Exit)> {
        let mut others = Vec::new();
        while let Some((pid, exit)) = reap() {
            if self.watched.remove(&pid) {
                self.ended.insert(pid, exit);
            } else {
                others.push((pid, exit));
            }
        }
        others
    }

    /// How `pid` ended, once.
    pub fn take(&mut self, pid: u32) -> Option<Exit> {
        self.ended.remove(&pid)
    }

    /// Nobody waits for `pid` any longer.
    pub fn forget(&mut self, pid: u32) {
        self.watched.remove(&pid);
        self.ended.remove(&pid);
    }
}
