//! Compose v1 service definitions: parsing, variables, templates, and the Docker container they describe.
