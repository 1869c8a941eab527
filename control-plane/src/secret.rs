//! How secrets are made and checked. Each has 128 random bits, so that their SHA-256 alone may be kept: there is nothing to guess.

pub use api::secret::{BadSecret, JoinToken, Key, Secret};
use sha2::{Digest, Sha256};

/// A fresh one.
#[must_use]
pub fn fresh() -> Secret {
    Secret::new(rand::random())
}

/// What is kept of it: SHA-256, hexadecimal.
#[must_use]
pub fn hash(secret: &Secret) -> String {
    let digest = Sha256::digest(secret.bits());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether this is the secret of which `kept` was kept. Takes as long for a near miss as for a far one.
#[must_use]
pub fn matches(secret: &Secret, kept: &str) -> bool {
    let own = hash(secret);
    let differing = own
        .bytes()
        .zip(kept.bytes())
        .fold(0, |all, (one, other)| all | (one ^ other));
    own.len() == kept.len() && differing == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_its_hash() {
        let secret = fresh();
        assert!(matches(&secret, &hash(&secret)));
        assert!(!matches(&secret, &hash(&fresh())) && !matches(&secret, ""));
    }
}
