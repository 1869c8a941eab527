//! Forms of what ends up in `/etc/passwd`, `/etc/shadow`, sudoers and chrony's sources: one line each, and nothing that ends a field. Pure.

use std::net::IpAddr;

use super::formats::Format;

const NAME_ADVICE: &str =
    "write at most 32 of a-z, 0-9, `-` and `_`, of which the first is a letter or `_`";

pub(super) static USER_NAME: Format = Format {
    name: "a user name",
    advice: NAME_ADVICE,
    instead: None,
    fits: is_account_name,
};

pub(super) static GROUP_NAME: Format = Format {
    name: "a group name",
    advice: NAME_ADVICE,
    instead: None,
    fits: is_account_name,
};

pub(super) static GECOS: Format = Format {
    name: "a comment for /etc/passwd",
    advice: "write at most 255 characters without `:` and line ends",
    instead: None,
    fits: |text| text.len() <= 255 && is_field(text),
};

pub(super) static SHELL: Format = Format {
    name: "a shell",
    advice: "write its path, such as /bin/bash",
    instead: None,
    fits: |text| is_path(text) && !text.contains(char::is_whitespace),
};

pub(super) static FOLDER: Format = Format {
    name: "a home directory",
    advice: "write its absolute path, such as /home/web, without `:` and `..`",
    instead: None,
    fits: |text| is_path(text) && text.len() <= 255,
};

pub(super) static HASH: Format = Format {
    name: "a password hash",
    advice: "passwords in plain text are refused; `openssl passwd -6` makes a hash, which begins with `$6$`; put it in quotes",
    instead: None,
    fits: |text| matches!(text, "*" | "!") || is_hash(text),
};

/// Nothing fits: the key is known, so that its text reaches no log and no export.
pub(super) static PLAIN_TEXT: Format = Format {
    name: "taken: passwords in plain text are refused",
    advice: "write a hash as `passwd`; `openssl passwd -6` makes one",
    instead: None,
    fits: |_| false,
};

pub(super) static SUDO_RULE: Format = Format {
    name: "a rule of sudo",
    advice: "write it on one line and in quotes, such as \"ALL=(ALL) NOPASSWD:ALL\"; `false` is none",
    instead: None,
    fits: |text| {
        let is_one_line = text.len() <= 1000 && !text.contains(char::is_control);
        is_one_line && text.contains('=') && !text.ends_with('\\') && !text.starts_with(['#', '@'])
    },
};

pub(super) static PUBLIC_KEY: Format = Format {
    name: "a public key",
    advice: "write the one line of the .pub file, such as `ssh-ed25519 AAAA… me@laptop`",
    instead: None,
    fits: is_public_key,
};

pub(super) static TIME_SERVER: Format = Format {
    name: "the name or address of a time server",
    advice: "write it like time.example.com, 192.168.1.1 or fd00::1, without options",
    instead: None,
    fits: |text| is_domain_name(text) || text.parse::<IpAddr>().is_ok(),
};

/// As useradd(8) of Debian takes them.
fn is_account_name(text: &str) -> bool {
    let letter = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
    };
    text.len() <= 32
        && text.bytes().all(letter)
        && text.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
}

/// passwd(5) ends a field with `:` and a record with a line end.
fn is_field(text: &str) -> bool {
    !text.contains(':') && !text.contains(char::is_control)
}

fn is_path(text: &str) -> bool {
    let Some(relative) = text.strip_prefix('/') else {
        return false;
    };
    let is_plain = |part: &str| !matches!(part, "" | "." | "..");
    is_field(text) && relative.split('/').all(is_plain)
}

/// Methods of crypt(5) that are not broken, as the libcrypt of the console knows them, with the length of what they make.
fn is_hash(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/');
    let ends_with = |rest: &str, length: usize| {
        let (settings, hash) = rest.rsplit_once('$').unwrap_or_default();
        let salt = |byte: u8| letter(byte) || matches!(byte, b'$' | b'=');
        !settings.is_empty()
            && settings.bytes().all(salt)
            && hash.len() == length
            && hash.bytes().all(letter)
    };
    let Some((method, rest)) = text.strip_prefix('$').and_then(|text| text.split_once('$')) else {
        return false;
    };
    match method {
        "y" | "gy" | "7" | "5" => ends_with(rest, 43),
        "6" => ends_with(rest, 86),
        "2a" | "2b" | "2y" => rest.split_once('$').is_some_and(|(cost, hash)| {
            let is_cost = cost.len() == 2 && cost.bytes().all(|byte| byte.is_ascii_digit());
            is_cost && hash.len() == 53 && hash.bytes().all(letter)
        }),
        _ => false,
    }
}

/// A line of authorized_keys: perhaps options, then a type and the key, which in base64 begins with the length of its type.
fn is_public_key(text: &str) -> bool {
    let text = text.trim();
    if text.contains(char::is_control) {
        return false;
    }
    let is_type = |word: &str| {
        ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"]
            .iter()
            .any(|kind| word.starts_with(kind))
    };
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    words
        .windows(2)
        .any(|pair| matches!(pair, [kind, key] if is_type(kind) && key.starts_with("AAAA")))
}

/// RFC 1035: labels of at most 63, together at most 253; `_` is common.
fn is_domain_name(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(letter) && !label.starts_with('-')
    };
    let text = text.strip_suffix('.').unwrap_or(text);
    text.len() <= 253 && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(format: &Format, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!((format.fits)(text), "{} {text}", format.name);
        }
        for text in bad {
            assert!(!(format.fits)(text), "{} {text}", format.name);
        }
    }

    #[test]
    fn names() {
        let long = "a".repeat(33);
        judge(
            &USER_NAME,
            &["web", "_x", "a-b_9"],
            &[
                "", "9a", "-a", "Web", "a.b", "a b", "a:b", "a\nb", "ä", "ALL", &long,
            ],
        );
    }

    #[test]
    fn fields_of_passwd() {
        judge(
            &GECOS,
            &["Web, room 5", "Käthe"],
            &["a:b", "a\nb", "a\tb", &"a".repeat(256)],
        );
        judge(
            &FOLDER,
            &["/home/web", "/opt/a b"],
            &[
                "home",
                "/",
                "/home/",
                "/home/../etc",
                "/home//a",
                "/a:b",
                "/a\nb",
            ],
        );
        judge(&SHELL, &["/bin/sh"], &["bash", "/bin/sh -c", "/bin/a:b"]);
    }

    #[test]
    fn hashes() {
        let sha512 = format!("$6$rounds=5000$salt${}", "a".repeat(86));
        let sha256 = format!("$5$salt${}", "b".repeat(43));
        let yescrypt = format!("$y$j9T$salt${}", "c".repeat(43));
        let bcrypt = format!("$2b$12${}", "d".repeat(53));
        let short = format!("$6$salt${}", "a".repeat(85));
        let colon = format!("$6$sa:t${}", "a".repeat(86));
        let line = format!("$6$sa\nt${}", "a".repeat(86));
        let md5 = format!("$1$salt${}", "a".repeat(22));
        judge(
            &HASH,
            &[&sha512, &sha256, &yescrypt, &bcrypt, "*", "!"],
            &[
                "secret", "$ecret", "$6$", "$6$$", &short, &colon, &line, &md5,
            ],
        );
        assert!(!(PLAIN_TEXT.fits)("anything"));
    }

    #[test]
    fn rules_of_sudo_are_one_line() {
        judge(
            &SUDO_RULE,
            &[
                "ALL=(ALL) NOPASSWD:ALL",
                "ALL=(root) NOPASSWD: /usr/bin/docker ps, /bin/ls",
            ],
            &[
                "true",
                "ALL=(ALL) ALL\nroot ALL=(ALL) NOPASSWD: ALL",
                "ALL=(ALL) ALL \\",
                "#include=x",
                "@include=/tmp/x",
            ],
        );
    }

    #[test]
    fn public_keys_are_one_line() {
        judge(
            &PUBLIC_KEY,
            &[
                "ssh-ed25519 AAAAC3Nza me@laptop\n",
                "from=\"10.0.0.*\" ssh-rsa AAAAB3Nza",
                "sk-ssh-ed25519@openssh.com AAAAGnNr",
            ],
            &[
                "AAAAC3Nza",
                "ssh-ed25519",
                "ssh-ed25519 AAAA\nssh-ed25519 AAAAB",
                "-----BEGIN OPENSSH PRIVATE KEY-----",
            ],
        );
    }

    #[test]
    fn time_servers_are_one_word() {
        judge(
            &TIME_SERVER,
            &[
                "time.example.com",
                "2.debian.pool.ntp.org.",
                "10.0.0.1",
                "fd00::1",
                "a_b",
            ],
            &[
                "a b",
                "a iburst",
                "a\nserver b",
                " a",
                "-a",
                "a..b",
                "",
                "a:123",
                "a#b",
                &"a".repeat(64),
            ],
        );
    }
}
