//! System service `console`.
