//! The cloud-config of RancherOS: parse, merge, validate, resolve. Pure: no file, network or environment access.
