//! Certificates of the user's daemon: from the configuration to the files that `rancher.docker.tls_args` names.

use std::io;
use std::path::Path;

use os_config::DockerBlock;

use crate::files::{make_directory, write_atomically};

const FOLDER: &str = "/etc/docker/tls";

/// Writes what the configuration holds, readable by root alone. What it does not hold stays as it is.
pub fn write(block: &DockerBlock) -> io::Result<()> {
    if !block.tls {
        return Ok(());
    }
    write_below(Path::new(FOLDER), block)
}

fn write_below(folder: &Path, block: &DockerBlock) -> io::Result<()> {
    make_directory(folder, 0o700)?;
    let files = [
        ("ca.pem", block.ca_cert.as_str()),
        ("server-cert.pem", block.server_cert.as_str()),
        ("server-key.pem", block.server_key.reveal()),
    ];
    files
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .try_for_each(|(name, text)| write_atomically(&folder.join(name), text.as_bytes(), 0o600))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_root_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let block = DockerBlock {
            tls: true,
            ca_cert: "CA".into(),
            ..DockerBlock::default()
        };
        write_below(folder.path(), &block).unwrap();
        let file = folder.path().join("ca.pem");
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(!folder.path().join("server-key.pem").exists());
    }
}
