//! What all resources have in common.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

use crate::id::Id;

/// What the server knows of every object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Meta {
    /// Given by the server, for ever.
    pub id: Id,
    /// The project it belongs to; none for what is of the whole cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<Id>,
    /// Given by its owner; unique among its kind in the project.
    pub name: String,
    /// Free keys and values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When it was made, RFC 3339 in UTC.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// Revision of the store in which it was last changed. An update names it, and fails when the object has changed since.
    pub revision: u64,
    /// Counts the changes of `spec`.
    pub generation: u64,
}

/// An object: what is wished (`spec`, by its owner) apart from what is seen (`status`, by the system).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Resource<S, T> {
    /// What every object has.
    #[serde(flatten)]
    pub meta: Meta,
    /// What is wished.
    pub spec: S,
    /// What is seen.
    pub status: T,
}

/// A type of resource.
pub trait Kind: Clone + Send + Sync + 'static {
    /// What is wished.
    type Spec: Clone + Default + Serialize + DeserializeOwned + Send + Sync;
    /// What is seen.
    type Status: Clone + Default + Serialize + DeserializeOwned + Send + Sync;
    /// Singular, as in messages: `host`.
    const NAME: &'static str;
    /// As in paths: `hosts`.
    const PLURAL: &'static str;
    /// First part of ids.
    const PREFIX: &'static str;
    /// Whether it belongs to a project.
    const IN_PROJECT: bool;
}

/// Declares a kind: `kind!(Host, HostSpec, HostStatus, "host", "hosts", "h", true)`.
macro_rules! kind {
    ($name:ident, $marker:ident, $spec:ty, $status:ty, $singular:literal, $plural:literal, $prefix:literal, $in_project:literal) => {
        #[doc = concat!("A ", $singular, ".")]
        pub type $name = $crate::resource::Resource<$spec, $status>;

        #[doc = concat!("The kind `", $singular, "`.")]
        #[derive(Debug, Clone, Copy)]
        pub struct $marker;

        impl $crate::resource::Kind for $marker {
            type Spec = $spec;
            type Status = $status;
            const NAME: &'static str = $singular;
            const PLURAL: &'static str = $plural;
            const PREFIX: &'static str = $prefix;
            const IN_PROJECT: bool = $in_project;
        }
    };
}
pub(crate) use kind;

/// What is sent to make an object.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct New<S> {
    /// Its name.
    pub name: String,
    /// Free keys and values.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What is wished.
    #[serde(default)]
    pub spec: S,
}

/// What is sent to change an object: all of its labels and its whole spec.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Edit<S> {
    /// Revision that was read before.
    pub revision: u64,
    /// Free keys and values.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What is wished.
    pub spec: S,
}
