//! Projects for the tests of this module, from YAML.

use indexmap::IndexMap;
use serde_json::Value;

use crate::compose::{Project, Sources, Variables};

/// The project that the definitions make.
pub fn project(yaml: &str) -> Project {
    let definitions: IndexMap<String, Value> = serde_yaml::from_str(yaml).unwrap();
    let variables = Variables::default();
    let sources = Sources {
        variables: &variables,
        read_file: &|_| Err(std::io::Error::other("no files here")),
    };
    let project = Project::read(
        definitions
            .iter()
            .map(|(name, value)| (name.as_str(), value)),
        &sources,
    );
    assert_eq!(project.problems, []);
    project
}
