//! `ros networks`: the network between the hosts of the project.

use api::Network;
use api::network::{Encapsulation, NetworkKind};
use clap::{Args, Subcommand, ValueEnum};
use ipnet::Ipv4Net;

use super::args::Common;
use super::complete;
use super::error::{Error, Result};
use super::remote::Remote;
use crate::outcome::Outcome;
use crate::table::{or_dash, table};

/// Arguments of `ros networks`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ros networks\n  ros networks show ros\n  ros networks set ros --encapsulation vxlan"
)]
pub struct NetworksArgs {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Option<NetworksCommand>,
}

#[derive(Debug, Subcommand)]
enum NetworksCommand {
    /// List the networks (the default)
    #[command(after_help = "Examples:\n  ros networks list\n  ros networks list --format json")]
    List,
    /// Show a network
    #[command(
        alias = "inspect",
        after_help = "Examples:\n  ros networks show ros\n  ros networks show ros --format yaml"
    )]
    Show {
        #[command(flatten)]
        network: Named,
    },
    /// Change how a network travels; its subnet only while no host has a block of it
    #[command(
        after_help = "Examples:\n  ros networks set ros --encapsulation vxlan\n  ros networks set ros --subnet 10.50.0.0/16 --block-prefix 24\n  ros networks set ros --mtu auto --port usual"
    )]
    Set(Changes),
}

#[derive(Debug, Args)]
struct Named {
    /// Name or id of the network
    #[arg(add = complete::names::<NetworkKind>())]
    name: String,
}

#[derive(Debug, Args)]
struct Changes {
    #[command(flatten)]
    network: Named,
    /// How packets travel from host to host
    #[arg(long, value_enum)]
    encapsulation: Option<Way>,
    /// Addresses of all containers
    #[arg(long, value_name = "ADDRESS/LENGTH", value_parser = subnet)]
    subnet: Option<Ipv4Net>,
    /// Prefix length of the block of each host
    #[arg(long, value_name = "LENGTH")]
    block_prefix: Option<u8>,
    /// Largest packet, bytes; `auto`: each host finds it out from its own links
    #[arg(long, value_name = "BYTES", value_parser = mtu)]
    mtu: Option<Number<u32>>,
    /// UDP port of the encapsulation; `usual`: 51820 for wireguard, 4789 for vxlan
    #[arg(long, value_name = "PORT", value_parser = port)]
    port: Option<Number<u16>>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Way {
    /// Encrypted and authenticated
    Wireguard,
    /// Not encrypted, for networks that are trusted
    Vxlan,
    /// Plain routes, for hosts that share a link
    Direct,
}

impl From<Way> for Encapsulation {
    fn from(way: Way) -> Self {
        match way {
            Way::Wireguard => Self::Wireguard,
            Way::Vxlan => Self::Vxlan,
            Way::Direct => Self::Direct,
        }
    }
}

/// A number, or none of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Number<N>(Option<N>);

fn mtu(text: &str) -> std::result::Result<Number<u32>, String> {
    number(text, "auto").ok_or_else(|| "write a number of bytes, or `auto`".into())
}

fn port(text: &str) -> std::result::Result<Number<u16>, String> {
    number(text, "usual").ok_or_else(|| "write a port, at most 65535, or `usual`".into())
}

/// A number, or the word for none of its own.
fn number<N: std::str::FromStr>(text: &str, word: &str) -> Option<Number<N>> {
    if text == word {
        return Some(Number(None));
    }
    text.parse().ok().map(|number| Number(Some(number)))
}

fn subnet(text: &str) -> std::result::Result<Ipv4Net, String> {
    let parsed = text.parse();
    parsed.map_err(|_| {
        "write an IPv4 address and a prefix length of at most 32, such as 10.50.0.0/16".into()
    })
}

/// Runs `ros networks`.
pub async fn run(args: NetworksArgs) -> Outcome {
    let (remote, shown) = (Remote::open(&args.common)?, args.common.shown);
    match args.command.unwrap_or(NetworksCommand::List) {
        NetworksCommand::List => {
            let networks = remote.all::<NetworkKind>().await?;
            shown.print(&networks, || rows(&networks))
        }
        NetworksCommand::Show { network } => {
            let network = remote.get::<NetworkKind>(&network.name).await?;
            shown.print(&network, || rows(std::slice::from_ref(&network)))
        }
        NetworksCommand::Set(changes) => {
            let network = set(&remote, &changes).await?;
            shown.print(&network, || rows(std::slice::from_ref(&network)))
        }
    }
}

async fn set(remote: &Remote, changes: &Changes) -> Result<Network> {
    let Changes {
        network,
        encapsulation,
        subnet,
        block_prefix,
        mtu,
        port,
    } = changes;
    let is_nothing = encapsulation.is_none()
        && subnet.is_none()
        && block_prefix.is_none()
        && mtu.is_none()
        && port.is_none();
    if is_nothing {
        return Err(Error::NothingToChange("networks"));
    }
    remote
        .change::<NetworkKind>(&network.name, |spec, _| {
            spec.encapsulation = encapsulation.map_or(spec.encapsulation, Into::into);
            spec.subnet = subnet.unwrap_or(spec.subnet);
            spec.block_prefix = block_prefix.unwrap_or(spec.block_prefix);
            spec.mtu = mtu.map_or(spec.mtu, |Number(mtu)| mtu);
            spec.port = port.map_or(spec.port, |Number(port)| port);
            Ok(())
        })
        .await
}

/// As people write it.
pub fn name_of(way: Encapsulation) -> &'static str {
    match way {
        Encapsulation::Wireguard => "wireguard",
        Encapsulation::Vxlan => "vxlan",
        Encapsulation::Direct => "direct",
    }
}

fn rows(networks: &[Network]) -> String {
    let rows: Vec<[String; 7]> = networks
        .iter()
        .map(|network| {
            let spec = &network.spec;
            let port = spec.port.or_else(|| spec.encapsulation.usual_port());
            [
                network.meta.name.clone(),
                spec.subnet.to_string(),
                format!("/{}", spec.block_prefix),
                format!(
                    "{} of {}",
                    network.status.blocks_used, network.status.blocks
                ),
                name_of(spec.encapsulation).to_owned(),
                or_dash(port),
                spec.mtu
                    .map_or_else(|| "auto".into(), |mtu| mtu.to_string()),
            ]
        })
        .collect();
    let header = [
        "Name",
        "Subnet",
        "Block",
        "Blocks used",
        "Encapsulation",
        "Port",
        "MTU",
    ];
    table(header, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_its_own_word_for_none() {
        assert_eq!(mtu("auto"), Ok(Number(None)));
        assert_eq!(mtu("1400"), Ok(Number(Some(1400))));
        assert_eq!(port("usual"), Ok(Number(None)));
        for wrong in ["usual", "-1", ""] {
            let said = mtu(wrong).unwrap_err();
            assert_eq!(said, "write a number of bytes, or `auto`", "{wrong}");
        }
        for wrong in ["auto", "70000"] {
            let said = port(wrong).unwrap_err();
            assert_eq!(said, "write a port, at most 65535, or `usual`", "{wrong}");
        }
    }

    #[test]
    fn a_subnet_has_a_length() {
        assert!(subnet("10.50.0.0/16").is_ok());
        for wrong in ["10.0.0.0/99", "10.0.0.0", "fd00::/64", "x"] {
            let said = subnet(wrong).unwrap_err();
            assert!(said.ends_with("such as 10.50.0.0/16"), "{wrong}: {said}");
        }
    }
}
