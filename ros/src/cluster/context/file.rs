//! The file of contexts. It holds keys: it is written beside and renamed, for its owner only.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Context;
use crate::cluster::error::{Error, Result};

/// All contexts of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Contexts {
    /// The one that commands are about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// By name.
    pub contexts: BTreeMap<String, Context>,
}

/// `$XDG_CONFIG_HOME/ros/contexts.yml`, `~/.config/ros/contexts.yml` (XDG Base Directory Specification: a relative path counts as none).
fn path() -> Result<PathBuf> {
    let folder = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let config = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")));
    let config = config.ok_or_else(|| {
        Error::Other("HOME is not set: contexts have no place; set it, or XDG_CONFIG_HOME".into())
    })?;
    Ok(config.join("ros/contexts.yml"))
}

impl Contexts {
    /// Those that are known; none when there is no file.
    pub fn load() -> Result<Self> {
        let Ok(path) = path() else {
            return Ok(Self::default());
        };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Error::File(path.display().to_string(), error)),
        };
        let open = fs::metadata(&path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0);
        if open {
            return Err(Error::Contexts {
                why: format!(
                    "others can read the keys in it; `chmod 600 {}`, and replace the keys if others use this machine",
                    path.display()
                ),
                path,
            });
        }
        serde_yaml::from_str(&text).map_err(|error| Error::Contexts {
            why: format!("{error}; correct it, or remove it and add the contexts again"),
            path,
        })
    }

    /// Keeps them.
    pub fn save(&self) -> Result<()> {
        let path = path()?;
        let text = serde_yaml::to_string(self).map_err(|error| Error::Other(error.to_string()))?;
        files::write(&path, text.as_bytes(), files::SECRET)
            .map_err(|error| Error::Write(path.clone(), error))
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Result<&Context> {
        self.contexts.get(name).ok_or_else(|| self.unknown(name))
    }

    fn unknown(&self, name: &str) -> Error {
        Error::UnknownContext {
            name: name.to_owned(),
            known: self.contexts.keys().cloned().collect(),
        }
    }
}
