//! System service code: `respawn`.
