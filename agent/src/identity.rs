//! Who this host is in the cluster. Its key is made here and never leaves.

use std::path::{Path, PathBuf};

use api::Id;
use client::{Client, Trust};
use serde::{Deserialize, Serialize};

use crate::disk::{self, Error};

/// The file, below the agent's folder.
const FILE: &str = "identity.json";

/// Who this host is.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    /// Its id.
    pub host: Id,
    /// Its name.
    pub name: String,
    /// Its project.
    pub project: Id,
    /// Name of the project.
    pub project_name: String,
    /// Servers, `https://host:port`: any of them will do.
    pub servers: Vec<String>,
    /// The CA's certificate, PEM.
    pub ca: String,
    /// Its certificate, PEM.
    pub certificate: String,
    /// The key of it, PEM.
    pub key: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}) of {:?}", self.name, self.host, self.servers)
    }
}

/// Who this host is, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// Its id.
    pub host: Id,
    /// Its name.
    pub name: String,
    /// Its project.
    pub project: Id,
    /// Name of the project.
    pub project_name: String,
}

impl Identity {
    /// Who this is.
    #[must_use]
    pub fn own(&self) -> Own {
        Own {
            host: self.host.clone(),
            name: self.name.clone(),
            project: self.project.clone(),
            project_name: self.project_name.clone(),
        }
    }

    fn path(folder: &Path) -> PathBuf {
        folder.join(FILE)
    }

    /// Of this host, if it has joined.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn load(folder: &Path) -> Result<Option<Self>, Error> {
        disk::read(&Self::path(folder))
    }

    /// Keeps it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), Error> {
        disk::write(&Self::path(folder), self)
    }

    /// Forgets it.
    ///
    /// # Errors
    /// When the file stays.
    pub fn forget(folder: &Path) -> Result<(), Error> {
        disk::remove(&Self::path(folder))
    }

    /// Speaks to a server as this host.
    ///
    /// # Errors
    /// When the address or a certificate is not one.
    pub fn client(&self, server: &str) -> Result<Client, client::Error> {
        let identity = client::Identity::Certificate {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
        };
        Client::new(server, Trust::Ca(self.ca.clone()), identity)
    }
}
