//! Who may do what: users, their keys, join tokens, roles. Secrets are shown once, when they are made, and kept as hashes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::id::Id;
use crate::resource::kind;

/// The answer to `GET /v1/ca`, which needs no key: whoever knows the CA by its hash learns its certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CaAnswer {
    /// The CA's certificate, PEM.
    pub certificate: String,
}

/// What a user may do in a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look.
    Readonly,
    /// Change everything but members and the project itself.
    Member,
    /// Everything.
    Owner,
}

/// What is wished of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UserSpec {
    /// May do everything everywhere.
    pub admin: bool,
    /// May not log in.
    pub disabled: bool,
}

/// What is seen of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct UserStatus {}

kind!(
    User, UserKind, UserSpec, UserStatus, "user", "users", "u", false
);

/// What is wished of an API key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ApiKeySpec {
    /// Whose it is; none: of the one who makes it.
    pub user: Option<Id>,
    /// When it ends; none: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires: Option<Timestamp>,
}

/// What is seen of an API key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ApiKeyStatus {
    /// SHA-256 of the secret, which has 128 random bits; never leaves the server.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub secret_hash: String,
    /// The whole key, in the answer to its creation only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

kind!(
    ApiKey,
    ApiKeyKind,
    ApiKeySpec,
    ApiKeyStatus,
    "key",
    "keys",
    "k",
    false
);

/// What is wished of a join token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TokenSpec {
    /// When it ends; none: a day after it was made.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires: Option<Timestamp>,
    /// How many hosts may join with it; none: any number.
    pub uses: Option<u32>,
}

/// What is seen of a join token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct TokenStatus {
    /// SHA-256 of the secret, which has 128 random bits; never leaves the server.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub secret_hash: String,
    /// The whole token, in the answer to its creation only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Hosts that have joined with it.
    pub used: u32,
}

kind!(
    Token,
    TokenKind,
    TokenSpec,
    TokenStatus,
    "token",
    "tokens",
    "t",
    true
);

/// Who asks, as the server sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Whoami {
    /// A user, by an API key.
    User {
        /// Its id.
        id: Id,
        /// Its name.
        name: String,
        /// May do everything everywhere.
        admin: bool,
    },
    /// A host, by its certificate.
    Host {
        /// Its id.
        id: Id,
        /// Its name.
        name: String,
        /// Its project.
        project: Id,
    },
}

/// A server is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pong {
    /// What it is: `ros`.
    pub name: String,
    /// Its clock.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
}
