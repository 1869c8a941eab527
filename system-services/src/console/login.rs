//! `ros autologin USER:TTY`: what agetty runs in place of login on a terminal of `rancher.autologin=`.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Why nobody is logged in.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The argument has the wrong form.
    #[error("autologin: `{0}` is not USER:TTY, such as rancher:tty1")]
    Argument(String),
    /// login cannot be run.
    #[error("autologin: cannot run login")]
    Login(#[source] io::Error),
}

/// Becomes `login -f USER`.
///
/// # Errors
/// See [`Error`]; does not return otherwise.
pub fn autologin(who: &str) -> Result<(), Error> {
    let user = user_of(who)?;
    Err(Error::Login(
        Command::new("login").args(["-f", user]).exec(),
    ))
}

fn user_of(who: &str) -> Result<&str, Error> {
    match who.split_once(':') {
        Some((user, terminal)) if is_name(user) && !terminal.is_empty() => Ok(user),
        _ => Err(Error::Argument(who.to_owned())),
    }
}

/// A login name that login(1) cannot take for an option.
fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_before_the_colon() {
        assert_eq!(user_of("rancher:tty1").unwrap(), "rancher");
        for bad in ["rancher", "-p:tty1", ":tty1", "rancher:"] {
            assert!(matches!(user_of(bad), Err(Error::Argument(_))), "{bad}");
        }
    }
}
