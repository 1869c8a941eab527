//! What a new cluster's server says once: the administrator's key, and the lines to paste on this and other machines.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use control_plane::server::Started;
use serde::Serialize;

use super::Settings;
use crate::cluster::context::hash_text;

/// `None` when the cluster was there before.
pub fn secrets(started: &Started, settings: &Settings) -> Option<Secrets> {
    let host = names(settings).into_iter().next();
    let host = host.unwrap_or_else(|| started.address.ip().to_string());
    Some(Secrets {
        server: url(&host, started.address.port()),
        key: started.admin_key.clone()?,
        token: started.join_token.clone()?,
        ca_hash: hash_text(&started.server.authority.hash()),
    })
}

/// What is told once, for people and for programs.
#[derive(Serialize)]
pub struct Secrets {
    /// `https://host:port`.
    server: String,
    /// The administrator's key.
    key: String,
    /// What hosts join with, within a day.
    token: String,
    /// `sha256:…` of the CA's certificate.
    ca_hash: String,
}

impl Secrets {
    /// As people read and paste it.
    pub fn text(&self) -> String {
        let Self {
            server: url,
            key,
            token,
            ca_hash: ca,
        } = self;
        format!(
            "\
A new cluster. This is shown once: keep the key in a safe place.

The administrator's key:
  {key}

On the machine that you work at:
  ros context add home {url} --key {key} --ca-hash {ca}

On each host, within a day (`ros tokens create` makes more tokens):
  sudo ros agent join {url} {token}

"
        )
    }
}

/// `https://host:port`, an IPv6 address in brackets.
fn url(host: &str, port: u16) -> String {
    match host.parse() {
        Ok(IpAddr::V6(address)) => format!("https://[{address}]:{port}"),
        _ => format!("https://{host}:{port}"),
    }
}

/// Names under which the server is reached: those that were given; else the address it listens on, or the one that leads out of this
/// machine, and its own name.
pub fn names(settings: &Settings) -> Vec<String> {
    if !settings.names.is_empty() {
        return settings.names.clone();
    }
    let given = settings.listen.map(|listen| listen.ip());
    let address = given.filter(|ip| !ip.is_unspecified()).or_else(outward);
    let hostname = rustix::system::uname();
    let hostname = hostname.nodename().to_string_lossy().to_lowercase();
    let is_name = hostname
        .split('.')
        .all(|part| api::name::check(part).is_ok());
    let hostname = Some(hostname).filter(|_| is_name);
    address
        .map(|ip| ip.to_string())
        .into_iter()
        .chain(hostname)
        .collect()
}

/// The address by which packets leave this machine: asked of the kernel's routes, nothing is sent.
fn outward() -> Option<IpAddr> {
    // RFC 5737: an address that is nobody's.
    let nobody: SocketAddr = (Ipv4Addr::new(192, 0, 2, 1), 9).into();
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(nobody).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_can_be_pasted() {
        let secrets = Secrets {
            server: "https://10.0.0.5:6440".into(),
            key: "roskey.k-aaaaaaaaaaaa.KKKK".into(),
            token: "rosjoin.t-aaaaaaaaaaaa.TTTT.HHHH".into(),
            ca_hash: "sha256:00".into(),
        };
        insta::assert_snapshot!(secrets.text());
        assert_eq!(
            serde_json::to_value(&secrets).unwrap(),
            serde_json::json!({
                "server": "https://10.0.0.5:6440",
                "key": "roskey.k-aaaaaaaaaaaa.KKKK",
                "token": "rosjoin.t-aaaaaaaaaaaa.TTTT.HHHH",
                "ca_hash": "sha256:00",
            })
        );
    }

    #[test]
    fn addresses_become_urls() {
        assert_eq!(url("fd00::1", 1), "https://[fd00::1]:1");
        assert_eq!(url("10.0.0.5", 6440), "https://10.0.0.5:6440");
        assert_eq!(url("a.example", 6440), "https://a.example:6440");
    }
}
