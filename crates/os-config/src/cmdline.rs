//! The kernel command line as a layer of configuration.
//! Owns quoting, `rancher.`/`cc.` keys and ` -- `; reading `/proc/cmdline` is `store`'s.

use crate::node::Node;
use crate::types::Secret;

/// What the kernel command line says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cmdline {
    /// Configuration from `rancher.*` and `cc.*` before ` -- `.
    pub visible: Node,
    /// Configuration from what follows ` -- `; the highest layer.
    pub hidden: Node,
    /// The text after ` -- `, as `EXTRA_CMDLINE` shows it.
    pub extra: Option<String>,
    /// `rancher.password=`: a kernel parameter, never a configuration key.
    pub password: Option<Secret>,
    /// Each `rancher.autologin=<tty>`.
    pub autologin: Vec<String>,
    /// Each `console=`, without its options.
    pub consoles: Vec<String>,
    /// `cloud-config-url=` or `cloud_config_url=`.
    pub cloud_config_url: Option<String>,
    /// `netconsole=`.
    pub netconsole: Option<String>,
    /// `root=`.
    pub root: Option<String>,
}

/// Reads a kernel command line. Never fails: words it does not know are not its business.
#[must_use]
pub fn parse(_text: &str) -> Cmdline {
    Cmdline::default()
}
