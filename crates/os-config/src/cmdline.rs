//! The kernel command line as a layer of configuration.
//! Owns `rancher.`/`cc.` keys, ` -- ` and the parameters that are not configuration; quoting is `words`' business, reading
//! `/proc/cmdline` is `store`'s.

mod words;

use crate::merge;
use crate::node::{Data, Node};
use crate::path;
use crate::problem::Position;
use crate::schema::ROOT;
use crate::types::Secret;
use std::sync::Arc;
use words::Word;

/// The name of this source in findings.
pub const SOURCE: &str = "kernel command line";
/// Deepest key; deeper ones are ignored.
const MAX_SEGMENTS: usize = 32;

/// What the kernel command line says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cmdline {
    /// Configuration from `rancher.*` and `cc.*` before ` -- `.
    pub visible: Node,
    /// Configuration from what follows ` -- `; the highest layer.
    pub hidden: Node,
    /// The text after ` -- `, as `EXTRA_CMDLINE` shows it.
    pub extra: Option<Secret>,
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

/// Reads a kernel command line. Never fails: words it does not know are not its business, and what is wrong with values
/// is found by the schema.
#[must_use]
pub fn parse(text: &str) -> Cmdline {
    let mut cmdline = Cmdline::default();
    let source: Arc<str> = SOURCE.into();
    let mut after_dashes = false;
    for word in words::split(text) {
        if word.text == "--" && !after_dashes {
            after_dashes = true;
            let rest: String = text.chars().skip(word.column as usize + 1).collect();
            cmdline.extra = Some(Secret::new(rest.trim()));
            continue;
        }
        cmdline.take(&word, &source, after_dashes);
    }
    cmdline
}

impl Cmdline {
    fn take(&mut self, word: &Word, source: &Arc<str>, after_dashes: bool) {
        let (name, value) = match word.text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word.text.as_str(), None),
        };
        if let Some(key) = configuration_key(name) {
            return self.configure(
                &key,
                value,
                &Position::new(source, 1, word.column),
                after_dashes,
            );
        }
        let Some(value) = value.map(words::plain) else {
            return;
        };
        match name {
            "console" => self
                .consoles
                .extend(value.split(',').next().map(str::to_owned)),
            "cloud-config-url" | "cloud_config_url" => self.cloud_config_url = Some(value),
            "netconsole" => self.netconsole = Some(value),
            "root" => self.root = Some(value),
            _ => {}
        }
    }

    fn configure(
        &mut self,
        key: &str,
        value: Option<&str>,
        position: &Position,
        after_dashes: bool,
    ) {
        match key {
            "rancher.password" => {
                self.password = value.map(|value| Secret::new(words::plain(value)))
            }
            "rancher.autologin" => self.autologin.extend(value.map(words::plain)),
            _ => {
                let segments = path::segments(key);
                if segments.len() > MAX_SEGMENTS || segments.iter().any(String::is_empty) {
                    return;
                }
                let known = path::locate(&ROOT, &segments).map(|(keys, _)| keys);
                let node =
                    value.map_or_else(|| flag(position), |value| words::value(value, position));
                let layer = if after_dashes {
                    &mut self.hidden
                } else {
                    &mut self.visible
                };
                // A key below a scalar is ignored, as in RancherOS 1.x.
                merge::put(layer, &known.unwrap_or(segments), node);
            }
        }
    }
}

/// The key of a word that is configuration.
fn configuration_key(name: &str) -> Option<String> {
    match name.strip_prefix("cc.") {
        Some(key) => Some(key.to_owned()),
        None => name.starts_with("rancher.").then(|| name.to_owned()),
    }
}

fn flag(position: &Position) -> Node {
    Node {
        data: Data::Scalar {
            text: "true".into(),
            quoted: false,
        },
        position: position.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Severity;
    use crate::schema::{self, to_value};
    use serde_json::{Value, json};

    fn visible(text: &str) -> Value {
        let mut node = parse(text).visible;
        let mut problems = Vec::new();
        schema::check(&mut node, &ROOT, "", &mut problems);
        problems.retain(|problem| problem.severity == Severity::Error);
        assert_eq!(problems, []);
        to_value(&node, &ROOT)
    }

    #[test]
    fn keys_nest_and_flags_are_true() {
        let found = visible(
            "quiet rancher.debug rancher.state.dev=LABEL=RANCHER_STATE cc.hostname=x rancherx.y=1",
        );
        let expected = json!({"rancher": {"debug": true, "state": {"dev": "LABEL=RANCHER_STATE"}}, "hostname": "x"});
        assert_eq!(found, expected);
    }

    #[test]
    fn quotes_and_brackets_hold_blanks() {
        let found = visible(
            r#"rancher.modules=[btrfs, "a b" ,'c, d'] "rancher.environment.A=x y" rancher.environment.B="1 2" rancher.console='q r'"#,
        );
        assert_eq!(found["rancher"]["modules"], json!(["btrfs", "a b", "c, d"]));
        assert_eq!(
            found["rancher"]["environment"],
            json!({"A": "x y", "B": "1 2"})
        );
        assert_eq!(found["rancher"]["console"], json!("q r"));
    }

    #[test]
    fn the_last_of_repeated_keys_wins_and_a_key_below_a_scalar_is_ignored() {
        let found = visible("cc.hostname=a cc.hostname=b cc.hostname.c=d");
        assert_eq!(found, json!({"hostname": "b"}));
    }

    #[test]
    fn colons_are_text() {
        let found = visible(
            "rancher.cloud_init.datasources=[url:http://h/x?y,file:/a] rancher.environment.X={a: 1}",
        );
        assert_eq!(
            found["rancher"]["cloud_init"]["datasources"],
            json!(["url:http://h/x?y", "file:/a"])
        );
        assert_eq!(found["rancher"]["environment"]["X"], json!("{a:"));
    }

    #[test]
    fn dotted_names_of_free_maps() {
        let found = visible(
            "rancher.sysctl.net.ipv4.ip_forward=1 rancher.network.interfaces.eth0.100.dhcp=true",
        );
        assert_eq!(
            found["rancher"]["sysctl"],
            json!({"net.ipv4.ip_forward": "1"})
        );
        assert_eq!(
            found["rancher"]["network"]["interfaces"],
            json!({"eth0.100": {"dhcp": true}})
        );
    }

    #[test]
    fn password_and_autologin_are_not_configuration() {
        let found = parse(
            "rancher.password=it's rancher.autologin=tty1 rancher.autologin=ttyS0 console=ttyS0,115200n8",
        );
        assert_eq!(found.password.as_ref().map(Secret::reveal), Some("it's"));
        assert_eq!(found.autologin, ["tty1", "ttyS0"]);
        assert_eq!(found.consoles, ["ttyS0"]);
        assert_eq!(found.visible, Node::default());
        assert!(!format!("{found:?}").contains("it's"));
    }

    #[test]
    fn what_follows_the_dashes_is_a_layer_of_its_own() {
        let found = parse("rancher.console=a -- rancher.console=b rancher.password=p x");
        assert_eq!(
            to_value(&found.visible, &ROOT)["rancher"]["console"],
            json!("a")
        );
        assert_eq!(
            to_value(&found.hidden, &ROOT)["rancher"]["console"],
            json!("b")
        );
        assert_eq!(
            found.extra.as_ref().map(Secret::reveal),
            Some("rancher.console=b rancher.password=p x")
        );
        assert_eq!(found.password.as_ref().map(Secret::reveal), Some("p"));
    }

    #[test]
    fn an_empty_value_overrides_with_nothing() {
        assert_eq!(
            visible("rancher.state.dev="),
            json!({"rancher": {"state": {"dev": ""}}})
        );
    }

    #[test]
    fn places_are_columns() {
        let found = parse("quiet cc.hostname=x");
        let node =
            path::find(&found.visible, &["hostname".into()]).map(|node| node.position.clone());
        assert_eq!(node, Some(Position::new(&SOURCE.into(), 1, 7)));
    }
}
