//! The image of the tests' containers: busybox and nothing else, made without a registry. Owns no files.

use std::path::Path;

use qemu_tests::{HarnessError, Result, docker_archive};
use serde_json::json;

use crate::node::Node;
use crate::root::Root;

/// Its name.
pub const NAME: &str = "box:1";
/// Whose busybox: that of Debian 12 crashes where it resolves names, because it is linked statically and finds no library for that.
const BUSYBOX: Root = Root::Docker26;
const APPLETS: [&str; 26] = [
    "arp", "cat", "date", "echo", "env", "grep", "head", "hostname", "httpd", "ifconfig", "ip",
    "ls", "nc", "nslookup", "touch", "ping", "ps", "sh", "sleep", "tail", "test", "time", "top",
    "true", "wc", "wget",
];

/// Says who asks: `http://…/cgi-bin/who`.
pub const WHO: &str = "#!/bin/sh\necho\na=${REMOTE_ADDR##*:}; echo ${a%]}\n";

/// Loads it into a host's Docker.
///
/// # Errors
/// When Docker does not take it.
pub fn load(node: &Node) -> Result<()> {
    let archive = archive(&BUSYBOX.tree()?.join("usr/bin/busybox"))?;
    node.run_with(&["docker", "load"], &archive).map(drop)
}

fn archive(busybox: &Path) -> Result<Vec<u8>> {
    let program = std::fs::read(busybox).map_err(HarnessError::file("read busybox", busybox))?;
    let layer = layer(&program).map_err(HarnessError::file("write layer", NAME))?;
    // A program that runs as PID 1 without handlers ignores SIGTERM: stop it at once.
    let settings =
        json!({"Cmd": ["sleep", "1000000"], "Env": ["PATH=/bin"], "StopSignal": "SIGKILL"});
    docker_archive::archive(NAME, &layer, &settings)
}

fn layer(program: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    let header = |kind, mode, size| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header
    };
    let size = program.len() as u64;
    let mut file = header(tar::EntryType::Regular, 0o755, size);
    layer.append_data(&mut file, "bin/busybox", program)?;
    for applet in APPLETS {
        let mut link = header(tar::EntryType::Symlink, 0o777, 0);
        layer.append_link(&mut link, format!("bin/{applet}"), "busybox")?;
    }
    let mut script = header(tar::EntryType::Regular, 0o755, WHO.len() as u64);
    layer.append_data(&mut script, "www/cgi-bin/who", WHO.as_bytes())?;
    for (folder, mode) in [("tmp", 0o1777), ("etc", 0o755)] {
        let mut folder_header = header(tar::EntryType::Directory, mode, 0);
        layer.append_data(&mut folder_header, folder, std::io::empty())?;
    }
    layer.into_inner()
}
