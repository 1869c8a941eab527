//! System service `network`.
