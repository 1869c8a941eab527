//! Short forms of limits, ports and devices, as the docker command line reads them.

use bollard::models::{DeviceMapping, PortBinding, ResourcesUlimits};
use serde_json::Value;

use super::problem::Wrong;
use super::values::{integer, text};

/// Bytes, as a number or with a unit: `64m`, `1g`, `512k`, `100b`.
pub(super) fn size(key: &str, value: &Value) -> Result<i64, Wrong> {
    let given = text(key, value)?.to_ascii_lowercase();
    let number = given.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor: i64 = match given[number.len()..].trim_end_matches(['b', 'i']) {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        _ => {
            return Err(Wrong::new(
                key,
                format!("expected a size such as 64m, given `{given}`"),
            ));
        }
    };
    if given == "-1" {
        return Ok(-1);
    }
    let bytes = number
        .trim()
        .parse::<i64>()
        .ok()
        .and_then(|number| number.checked_mul(factor));
    bytes
        .filter(|bytes| *bytes >= 0)
        .ok_or_else(|| Wrong::new(key, format!("expected a size such as 64m, given `{given}`")))
}

/// Seconds, as a number or with units: `90`, `90s`, `1m30s`, `2h`.
pub(super) fn seconds(key: &str, value: &Value) -> Result<i64, Wrong> {
    let given = text(key, value)?;
    let wrong = || Wrong::new(key, format!("expected a time such as 90s, given `{given}`"));
    let (mut total, mut number) = (0_i64, String::new());
    for letter in given.trim().chars() {
        let factor = match letter {
            '0'..='9' => {
                number.push(letter);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return Err(wrong()),
        };
        total += number.parse::<i64>().map_err(|_| wrong())? * factor;
        number.clear();
    }
    if !number.is_empty() {
        total += number.parse::<i64>().map_err(|_| wrong())?;
    }
    Ok(total)
}

/// One limit: `1024` or `{soft: 1024, hard: 2048}`.
pub(super) fn ulimit(key: &str, name: &str, value: &Value) -> Result<ResourcesUlimits, Wrong> {
    let (soft, hard) = match value {
        Value::Object(map) => {
            let side = |side: &str| match map.get(side) {
                Some(value) => integer(&format!("{key}.{side}"), value),
                None => Err(Wrong::new(key, "expected both soft and hard")),
            };
            (side("soft")?, side("hard")?)
        }
        single => integer(key, single).map(|limit| (limit, limit))?,
    };
    Ok(ResourcesUlimits {
        name: Some(name.to_owned()),
        soft: Some(soft),
        hard: Some(hard),
    })
}

/// `host[:container[:permissions]]`
pub(super) fn device(line: &str) -> DeviceMapping {
    let mut parts = line.splitn(3, ':');
    let host = parts.next().unwrap_or_default().to_owned();
    let container = parts
        .next()
        .filter(|part| !part.is_empty())
        .unwrap_or(&host)
        .to_owned();
    let permissions = parts
        .next()
        .filter(|part| !part.is_empty())
        .unwrap_or("rwm")
        .to_owned();
    DeviceMapping {
        path_on_host: Some(host),
        path_in_container: Some(container),
        cgroup_permissions: Some(permissions),
    }
}

/// A published port: the container's (`80/tcp`), and where it is published.
pub(super) type Published = (String, PortBinding);

/// `[[address:]host:]container[/protocol]`, each side also a range of the same length; an IPv6 address in brackets.
pub(super) fn ports(key: &str, line: &str) -> Result<Vec<Published>, Wrong> {
    let wrong = || {
        Wrong::new(
            key,
            format!("expected [[address:]host port:]container port, given `{line}`"),
        )
    };
    let (rest, protocol) = line.split_once('/').unwrap_or((line, "tcp"));
    if !matches!(protocol, "tcp" | "udp" | "sctp") {
        return Err(wrong());
    }
    let (rest, container) = rest.rsplit_once(':').unwrap_or(("", rest));
    let (address, host) = match rest.rsplit_once(':') {
        Some((address, host)) => (address.trim_start_matches('[').trim_end_matches(']'), host),
        None => ("", rest),
    };
    let inside = range(container).ok_or_else(wrong)?;
    let outside = if host.is_empty() {
        None
    } else {
        Some(range(host).ok_or_else(wrong)?)
    };
    if outside
        .as_ref()
        .is_some_and(|outside| outside.len() != inside.len())
    {
        return Err(wrong());
    }
    let binding = |index: usize| PortBinding {
        host_ip: (!address.is_empty()).then(|| address.to_owned()),
        host_port: outside
            .as_ref()
            .and_then(|ports| ports.get(index))
            .map(ToString::to_string),
    };
    Ok(inside
        .iter()
        .enumerate()
        .map(|(index, port)| (format!("{port}/{protocol}"), binding(index)))
        .collect())
}

fn range(text: &str) -> Option<Vec<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
    (first <= last).then(|| (first..=last).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sizes_and_times_have_units() {
        assert_eq!(size("mem_limit", &json!("64m")), Ok(64 << 20));
        assert_eq!(size("mem_limit", &json!(1024)), Ok(1024));
        assert_eq!(size("memswap_limit", &json!(-1)), Ok(-1));
        assert_eq!(
            size("mem_limit", &json!("2x")).unwrap_err().key,
            "mem_limit"
        );
        assert_eq!(seconds("stop_grace_period", &json!("1m30s")), Ok(90));
    }

    #[test]
    fn ports_have_four_forms() {
        let one = |line: &str| {
            let (port, binding) = ports("ports", line).unwrap().remove(0);
            (
                port,
                binding.host_ip.unwrap_or_default(),
                binding.host_port.unwrap_or_default(),
            )
        };
        let text = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(one("80"), text("80/tcp", "", ""));
        assert_eq!(one("8080:80"), text("80/tcp", "", "8080"));
        assert_eq!(
            one("127.0.0.1:53:53/udp"),
            text("53/udp", "127.0.0.1", "53")
        );
        assert_eq!(one("[::1]:8080:80"), text("80/tcp", "::1", "8080"));
        assert_eq!(ports("ports", "8000-8002:80-82").unwrap().len(), 3);
        assert_eq!(ports("ports", "8000-8001:80").unwrap_err().key, "ports");
        assert_eq!(ports("ports", "http").unwrap_err().key, "ports");
    }

    #[test]
    fn devices_default_to_the_same_path() {
        let mapping = device("/dev/fuse");
        assert_eq!(
            (
                mapping.path_in_container.as_deref(),
                mapping.cgroup_permissions.as_deref()
            ),
            (Some("/dev/fuse"), Some("rwm"))
        );
        assert_eq!(
            device("/dev/a:/dev/b:r").cgroup_permissions.as_deref(),
            Some("r")
        );
    }
}
