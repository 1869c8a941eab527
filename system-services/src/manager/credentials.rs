//! `rancher.registry_auths`: what Docker is given when it pulls an image of a service. Never shown.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use os_config::types::{Ordered, RegistryAuth};

/// Docker Hub, as the `docker` command names it in its own file.
const HUB: [&str; 3] = [
    "docker.io",
    "index.docker.io",
    "https://index.docker.io/v1/",
];

/// Credentials by registry.
#[derive(Clone, Default, PartialEq)]
pub struct Credentials {
    registries: BTreeMap<String, RegistryAuth>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.registries.keys()).finish()
    }
}

impl Credentials {
    /// From the configuration.
    #[must_use]
    pub fn new(auths: &Ordered<RegistryAuth>) -> Self {
        Self {
            registries: auths
                .iter()
                .map(|(name, auth)| (registry_name(name).to_owned(), auth.clone()))
                .collect(),
        }
    }

    /// For the registry that `image` is in.
    #[must_use]
    pub fn of(&self, image: &str) -> Option<DockerCredentials> {
        let registry = registry_of(image);
        let auth = self.registries.get(registry)?;
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let (user, password) = user_and_password(auth);
        Some(DockerCredentials {
            username: text(&user),
            password: text(&password),
            auth: None,
            email: text(&auth.email),
            serveraddress: text(&auth.serveraddress).or_else(|| text(registry)),
            identitytoken: text(auth.identitytoken.reveal()),
            registrytoken: text(auth.registrytoken.reveal()),
        })
    }
}

fn registry_name(name: &str) -> &str {
    if HUB.contains(&name) { HUB[0] } else { name }
}

/// The first part of a reference is a registry when it has a dot or a port, or is `localhost` (Docker's reference grammar).
fn registry_of(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => {
            registry_name(first)
        }
        _ => HUB[0],
    }
}

fn user_and_password(auth: &RegistryAuth) -> (String, String) {
    let decoded = STANDARD
        .decode(auth.auth.reveal())
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
    match pair {
        Some((user, password)) if auth.username.is_empty() => {
            (user.to_owned(), password.to_owned())
        }
        _ => (auth.username.clone(), auth.password.reveal().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use os_config::types::Secret;

    #[test]
    fn credentials_go_to_their_registry_only() {
        let auth = RegistryAuth {
            auth: Secret::new("bWU6c2VjcmV0"),
            ..RegistryAuth::default()
        };
        let auths = [
            ("index.docker.io".to_owned(), auth.clone()),
            ("reg.test:5000".to_owned(), auth),
        ]
        .into();
        let credentials = Credentials::new(&auths);
        let found = credentials.of("reg.test:5000/a:1").unwrap();
        assert_eq!(
            (found.username.as_deref(), found.password.as_deref()),
            (Some("me"), Some("secret"))
        );
        assert!(credentials.of("rancher/os-base").is_some());
        assert!(credentials.of("other.test/a").is_none());
        assert!(!format!("{credentials:?}").contains("secret"));
    }
}
