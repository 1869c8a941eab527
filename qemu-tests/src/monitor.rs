//! The machine monitor: power button, reset, late disks, unplugged cables.
//! Speaks QMP, the QEMU Machine Protocol, over one socket, one command at a time; owns nothing of the guest.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::{HarnessError, Result};

/// A connection in command mode.
pub struct Monitor {
    reader: BufReader<UnixStream>,
}

impl Monitor {
    /// Greets QEMU and enters command mode.
    ///
    /// # Errors
    /// When the greeting or the negotiation fails.
    pub fn attach(stream: UnixStream) -> Result<Self> {
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .map_err(HarnessError::file("set monitor timeout", "monitor socket"))?;
        let mut monitor = Self {
            reader: BufReader::new(stream),
        };
        monitor.read_message("greeting")?;
        monitor.execute("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    /// Presses the power button (ACPI).
    ///
    /// # Errors
    /// When QEMU refuses.
    pub fn press_power_button(&mut self) -> Result<()> {
        self.execute("system_powerdown", json!({})).map(drop)
    }

    /// Pulls the reset line: no shutdown of any kind.
    ///
    /// # Errors
    /// When QEMU refuses.
    pub fn reset(&mut self) -> Result<()> {
        self.execute("system_reset", json!({})).map(drop)
    }

    /// Ends QEMU at once, like pulling the plug.
    ///
    /// # Errors
    /// When QEMU refuses.
    pub fn quit(&mut self) -> Result<()> {
        self.execute("quit", json!({})).map(drop)
    }

    /// Plugs the raw disk image `file` in while the machine runs, on the hot-plug port that every machine has.
    ///
    /// # Errors
    /// When QEMU refuses.
    pub fn plug_disk(&mut self, file: &std::path::Path) -> Result<()> {
        let backend = json!({"driver": "raw", "node-name": "late0", "file": {"driver": "file", "filename": file}});
        self.execute("blockdev-add", backend)?;
        self.execute("device_add", json!({"driver": "virtio-blk-pci", "id": "lated0", "drive": "late0", "bus": "hotplug0"}))
            .map(drop)
    }

    /// Pulls the cable out of the card of this number.
    ///
    /// # Errors
    /// When QEMU refuses.
    pub fn pull_cable(&mut self, card: usize) -> Result<()> {
        self.execute(
            "set_link",
            json!({"name": format!("net{card}"), "up": false}),
        )
        .map(drop)
    }

    /// Puts it in again.
    ///
    /// # Errors
    /// When QEMU refuses.
    pub fn put_cable(&mut self, card: usize) -> Result<()> {
        self.execute(
            "set_link",
            json!({"name": format!("net{card}"), "up": true}),
        )
        .map(drop)
    }

    /// Sends one command and returns its `return` value; events that arrive meanwhile are dropped.
    ///
    /// # Errors
    /// When QEMU answers with an error or not at all.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let message = json!({"execute": command, "arguments": arguments}).to_string();
        let sent = self.reader.get_mut().write_all(message.as_bytes());
        sent.map_err(|error| refused(command, &error.to_string()))?;
        loop {
            let mut answer = self.read_message(command)?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                return Err(refused(command, &error.to_string()));
            }
        }
    }

    fn read_message(&mut self, command: &str) -> Result<Value> {
        let mut line = String::new();
        self.reader
            .read_line(&mut line)
            .map_err(|error| refused(command, &error.to_string()))?;
        serde_json::from_str(&line)
            .map_err(|error| refused(command, &format!("{error} in {line:?}")))
    }
}

fn refused(command: &str, answer: &str) -> HarnessError {
    HarnessError::Monitor {
        command: command.to_owned(),
        answer: answer.to_owned(),
    }
}
