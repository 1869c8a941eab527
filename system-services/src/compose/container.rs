//! Keys that say what runs in the container: image, command, environment, user. (Docker API: ContainerConfig.)

use bollard::models::ContainerCreateBody;
use serde_json::Value;

use super::problem::Wrong;
use super::resources::seconds;
use super::values::{Pair, flag, pairs, text, texts, words};

/// Takes the key, if it is one of these.
pub(super) fn take(
    body: &mut ContainerCreateBody,
    key: &str,
    value: &Value,
) -> Result<bool, Wrong> {
    match key {
        "image" => body.image = Some(text(key, value)?).filter(|image| !image.is_empty()),
        "command" => body.cmd = Some(words(key, value)?).filter(|words| !words.is_empty()),
        "entrypoint" => body.entrypoint = Some(words(key, value)?),
        "user" => body.user = Some(text(key, value)?),
        "working_dir" => body.working_dir = Some(text(key, value)?),
        "hostname" => body.hostname = Some(text(key, value)?),
        "domainname" => body.domainname = Some(text(key, value)?),
        "tty" => body.tty = Some(flag(key, value)?),
        "stdin_open" => body.open_stdin = Some(flag(key, value)?),
        "stop_signal" => body.stop_signal = Some(text(key, value)?),
        "stop_grace_period" => body.stop_timeout = Some(seconds(key, value)?),
        "expose" => {
            body.exposed_ports = Some(texts(key, value)?.into_iter().map(with_protocol).collect())
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn with_protocol(port: String) -> String {
    if port.contains('/') {
        port
    } else {
        format!("{port}/tcp")
    }
}

/// Environment entries as written: those without a value are looked up later.
pub(super) fn environment(key: &str, value: &Value) -> Result<Vec<Pair>, Wrong> {
    pairs(key, value, '=')
}

/// Lines of an `env_file`: `NAME=value`, blank lines and `#` comments skipped.
pub(super) fn env_file(content: &str) -> Vec<Pair> {
    let lines = content
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let split = lines.map(|line| {
        line.split_once('=')
            .map_or((line, None), |(name, value)| (name, Some(value)))
    });
    split
        .map(|(name, value)| (name.trim().to_owned(), value.map(str::to_owned)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::env_file;

    #[test]
    fn env_files_have_comments() {
        let pairs = env_file("# c\n\nA=1=2\n B\n");
        assert_eq!(
            pairs,
            [
                ("A".to_owned(), Some("1=2".to_owned())),
                ("B".to_owned(), None)
            ]
        );
    }
}
