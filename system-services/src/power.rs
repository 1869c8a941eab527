//! System service code: `power`.
