//! Laws that hold for every tree: what is written reads back, merging has an order, what the schema lets through has a type.
// Test code: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::panic)]

use os_config::convert::{Abilities, Conversion, Flaw, Harm, convert};
use os_config::emit::to_yaml;
use os_config::layers::{Layers, Owner};
use os_config::merge::{merge, put};
use os_config::node::{Data, Entry, Map, Node};
use os_config::problem::Position;
use os_config::schema::{self, Kind, ROOT, Schema};
use os_config::{Severity, cmdline, path, yaml};
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{0,4}",
        "\\PC{0,12}",
        "[ -~\\n\\t]{0,20}",
        prop::sample::select(vec![
            "true", "no", "~", "0644", "1.10", "-", "- a", "a: b", "#", "a\n", "\n", "a\n\n",
            " a\nb", "a\n b\n", "é", "\u{2028}", "\u{85}", "\u{1}"
        ])
        .prop_map(str::to_owned),
    ]
}

fn plain() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "true", "False", "null", "~", "12", "-3", "1.5", "1.10", "0644", "abc", "a b", "yes", "",
    ])
    .prop_map(str::to_owned)
}

fn node() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        text().prop_map(Node::text),
        plain().prop_map(|text| Node::made(Data::Scalar {
            text,
            quoted: false
        })),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5)
                .prop_map(|items| Node::made(Data::List(items))),
            proptest::collection::vec((text(), inner), 0..5).prop_map(map),
        ]
    })
}

fn map(entries: Vec<(String, Node)>) -> Node {
    let entry = |node| Entry {
        key: Position::default(),
        node,
    };
    Node::made(Data::Map(
        entries
            .into_iter()
            .map(|(name, node)| (name, entry(node)))
            .collect::<Map>(),
    ))
}

/// A tree with the keys of the schema, and values that are often of the wrong type.
fn shaped(schema: &'static Schema, depth: u32) -> BoxedStrategy<Node> {
    let wrong = node();
    let scalar = |text: &str| {
        Just(Node::made(Data::Scalar {
            text: text.to_owned(),
            quoted: false,
        }))
        .boxed()
    };
    let right = match schema {
        Schema::Bool => prop_oneof![scalar("true"), scalar("off")].boxed(),
        Schema::Integer(least, most) => (*least..=*most)
            .prop_map(|n| {
                Node::made(Data::Scalar {
                    text: n.to_string(),
                    quoted: false,
                })
            })
            .boxed(),
        Schema::OneOf(allowed) => prop::sample::select(allowed.to_vec())
            .prop_map(Node::text)
            .boxed(),
        Schema::Formatted(_) => {
            prop_oneof![scalar("0640"), scalar("10.0.0.1"), scalar("10.0.0.1/24")].boxed()
        }
        Schema::Tuple(names) => {
            proptest::collection::vec(plain().prop_map(Node::text), names.len())
                .prop_map(|items| Node::made(Data::List(items)))
                .boxed()
        }
        Schema::List(item) => proptest::collection::vec(shaped(item, depth), 0..3)
            .prop_map(|items| Node::made(Data::List(items)))
            .boxed(),
        Schema::Map(item) => proptest::collection::vec((text(), shaped(item, depth)), 0..3)
            .prop_map(map)
            .boxed(),
        Schema::Object(keys) if depth > 0 => {
            prop::sample::subsequence(keys.iter().collect::<Vec<_>>(), 0..=keys.len().min(4))
                .prop_flat_map(move |chosen| {
                    chosen
                        .into_iter()
                        .map(|key| (Just(key.name.to_owned()), shaped(&key.schema, depth - 1)))
                        .collect::<Vec<_>>()
                })
                .prop_map(map)
                .boxed()
        }
        Schema::Object(_) => Just(Node::default()).boxed(),
        _ => node().boxed(),
    };
    prop_oneof![4 => right, 1 => wrong].boxed()
}

/// What only a file of RancherOS 1.x has: old names, services and datasources, with values of any kind.
fn ancient() -> impl Strategy<Value = Node> {
    const KEYS: [&str; 20] = [
        "rancher.user_docker",
        "rancher.user_docker.tls",
        "rancher.docker.extra_args",
        "rancher.docker.storage_driver",
        "rancher.docker.args",
        "rancher.system_containers",
        "rancher.services",
        "rancher.services.web",
        "rancher.services.subscriber",
        "rancher.services.console.image",
        "rancher.services.web.image",
        "rancher.services.web.labels",
        "rancher.services_include",
        "rancher.services_include.zfs",
        "rancher.state.formatzero",
        "rancher.cloud_init.datasources",
        "rancher.network.interfaces",
        "rancher.network.interfaces.e*",
        "rancher.shutdown_timeout",
        "mounts",
    ];
    const VALUES: [&str; 14] = [
        "[--graph, /x, --cluster-store, a, -D]",
        "aufs",
        "{image: rancher/os-base:v1, labels: {io.rancher.os.scope: system, io.rancher.os.after: 'udev-cold,x'}}",
        "{labels: [io.rancher.os.after=subscriber, cron.schedule=x]}",
        "[io.rancher.os.before=preload-user-images]",
        "{a: true, /b: true, 'http://c': true, zfs: 'no', console: 1}",
        "rancher/os-dind",
        "'3'",
        "[[a, b], [a, b, c, d, e], [a]]",
        "[{match: eth0, dhcp: 'true'}, {match: eth1}]",
        "{dhcp: ~}",
        "[proxmox, ec2, '*', nocloud]",
        "{}",
        "~",
    ];
    let parsed = |text: &str| yaml::parse(text.as_bytes(), "f").unwrap().root;
    let value = prop_oneof![
        4 => prop::sample::select(VALUES.to_vec()).prop_map(parsed),
        1 => node(),
    ];
    let entry = (prop::sample::select(KEYS.to_vec()), value);
    proptest::collection::vec(entry, 0..6).prop_map(|entries| {
        let mut tree = Node::default();
        for (key, value) in entries {
            put(&mut tree, &path::segments(key), value);
        }
        tree
    })
}

/// A conversion where every service without an image is of no use.
fn converted(text: &str) -> Conversion {
    let abilities = Abilities {
        datasource: &|name| ["configdrive", "nocloud"].contains(&name),
        services: &|document| {
            let services = document["rancher"]["services"].as_object();
            let bad = services
                .into_iter()
                .flatten()
                .filter(|(_, definition)| definition.get("image").is_none());
            let flaw = |(name, _): (&String, _)| Flaw {
                service: name.clone(),
                key: "image".into(),
                what: "missing".into(),
                harm: Harm::Service,
            };
            bad.map(flaw).collect()
        },
    };
    convert(text.as_bytes(), "f", &abilities).unwrap()
}

fn reread(node: &Node) -> Node {
    let text = to_yaml(node);
    match yaml::parse(text.as_bytes(), "f") {
        Ok(parsed) if parsed.problems.is_empty() => parsed.root,
        other => panic!("{other:?}\n{text}"),
    }
}

/// The known keys below a path, with whether they hold a scalar.
fn leaves(schema: &'static Schema, prefix: &str, found: &mut Vec<(String, &'static Schema)>) {
    let Schema::Object(keys) = schema else {
        return found.push((prefix.to_owned(), schema));
    };
    for key in keys
        .iter()
        .filter(|key| !matches!(key.kind, Kind::Ignored(_)))
    {
        let path = if prefix.is_empty() {
            key.name.to_owned()
        } else {
            format!("{prefix}.{}", key.name)
        };
        leaves(&key.schema, &path, found);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn what_is_written_reads_back(tree in node()) {
        prop_assert_eq!(reread(&tree).to_value(), tree.to_value(), "{}", to_yaml(&tree));
    }

    #[test]
    fn merging_with_itself_or_nothing_changes_nothing(tree in node()) {
        let mut twice = tree.clone();
        merge(&mut twice, tree.clone());
        prop_assert_eq!(&twice, &tree);
        let mut filled = Node::default();
        merge(&mut filled, tree.clone());
        prop_assert_eq!(filled.to_value(), tree.to_value());
    }

    #[test]
    fn the_upper_layer_always_wins(below in node(), above in node(), key in "[a-z]{1,3}") {
        let mut tree = map(vec![(key.clone(), below)]);
        let upper = map(vec![(key.clone(), above.clone())]);
        merge(&mut tree, upper.clone());
        let mut again = tree.clone();
        merge(&mut again, upper);
        prop_assert_eq!(&again, &tree);
        if matches!(above.data, Data::Scalar { .. } | Data::List(_)) {
            prop_assert_eq!(path::find(&tree, &[key]), Some(&above));
        }
    }

    #[test]
    fn what_the_schema_lets_through_has_a_type(below in shaped(&ROOT, 5), above in shaped(&ROOT, 5)) {
        let mut layers = Layers::default();
        for tree in [&below, &above] {
            layers.add_file(Owner::User, to_yaml(tree).as_bytes(), "f");
        }
        let loaded = layers.resolve();
        let misfits: Vec<_> = loaded.problems.iter().filter(|problem| problem.what.starts_with("Cannot be used")).collect();
        prop_assert!(misfits.is_empty(), "{:?}", misfits);
        // A second check finds nothing that the first let through, but for what it only tells.
        let mut again = loaded.tree.clone();
        schema::check(&mut again, &ROOT, "", &mut Vec::new());
        prop_assert_eq!(again.to_value(), loaded.tree.to_value());
    }

    #[test]
    fn a_conversion_has_no_errors_and_is_its_own(shaped in shaped(&ROOT, 5), old in ancient(), any in node()) {
        let mut tree = map(Vec::new());
        for part in [any, shaped, old] {
            if part.as_map().is_some() {
                merge(&mut tree, part);
            }
        }
        let first = converted(&to_yaml(&tree));
        let text = first.text();
        let errors: Vec<_> = schema::check_text(text.as_bytes(), "f").into_iter().filter(|problem| problem.severity == Severity::Error).collect();
        prop_assert!(errors.is_empty(), "{:?}\n{}", errors, text);
        // The exit code says what the levels of the remarks say.
        for remark in &first.remarks {
            prop_assert_eq!(remark.act, remark.problem.severity != Severity::Notice, "{:?}", remark);
        }
        let second = converted(&text);
        prop_assert_eq!(second.text(), text);
        let said: Vec<_> = second.remarks.iter().filter(|remark| !first.remarks.iter().any(|other| other.kind == remark.kind && other.problem.what == remark.problem.what)).collect();
        prop_assert!(said.is_empty(), "{:?}", said);
    }

    #[test]
    fn a_quoted_value_of_the_command_line_is_that_value(value in "[a-zA-Z0-9 ,:/@\\[\\]{}?'=.-]{0,20}", word in "[a-z]{1,5}") {
        let line = format!("quiet rancher.environment.{word}=\"{value}\" cc.hostname=last");
        let found = cmdline::parse(&line).visible.to_value();
        prop_assert_eq!(&found["rancher"]["environment"][word.as_str()], &serde_json::json!(value));
        prop_assert_eq!(&found["hostname"], "last");
    }
}

#[test]
fn every_key_of_the_schema_has_a_field() {
    let mut keys = Vec::new();
    leaves(&ROOT, "", &mut keys);
    assert!(keys.len() > 150, "{}", keys.len());
    let typed = serde_json::to_value(os_config::Config::default()).unwrap();
    let typed = Node::from_value(&typed);
    for (key, _) in keys.iter().filter(|(key, _)| key != "EXTRA_CMDLINE") {
        assert!(
            path::find(&typed, &path::segments(key)).is_some(),
            "{key} is in the schema but not in the types"
        );
    }
}

#[test]
fn every_field_has_a_key_in_the_schema() {
    fn walk(value: &serde_json::Value, prefix: &str, found: &mut Vec<String>) {
        match value.as_object() {
            Some(map) if !map.is_empty() => map.iter().for_each(|(name, inner)| {
                let path = if prefix.is_empty() {
                    name.clone()
                } else {
                    format!("{prefix}.{name}")
                };
                walk(inner, &path, found);
            }),
            _ => found.push(prefix.to_owned()),
        }
    }
    let mut fields = Vec::new();
    walk(
        &serde_json::to_value(os_config::Config::default()).unwrap(),
        "",
        &mut fields,
    );
    for field in fields {
        assert!(
            path::locate(&ROOT, &path::segments(&field)).is_some(),
            "{field} is in the types but not in the schema"
        );
    }
}
