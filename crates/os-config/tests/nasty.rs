//! Inputs made to hurt: none may panic, hang, overflow the stack or take much memory.

use os_config::convert::{Abilities, Flaw, Harm, convert};
use os_config::yaml::{self, MAX_BYTES, MAX_DEPTH};
use os_config::{Severity, cmdline, layers::Layers, layers::Owner, schema, userdata};
use proptest::prelude::*;
use serde_json::Value;
use std::time::{Duration, Instant};

/// A release that can do nothing.
const NOTHING: Abilities<'_> = Abilities {
    datasource: &|_| false,
    services: &every_service_is_refused,
};

fn every_service_is_refused(document: &Value) -> Vec<Flaw> {
    let services = document
        .pointer("/rancher/services")
        .and_then(Value::as_object);
    let flaw = |name: &String| Flaw {
        service: name.clone(),
        key: "image".into(),
        what: "missing".into(),
        harm: Harm::Service,
    };
    services
        .into_iter()
        .flat_map(|services| services.keys().map(flaw))
        .collect()
}

/// Everything that reads text from outside.
fn feed(bytes: &[u8]) {
    let begun = Instant::now();
    let problems = schema::check_text(bytes, "file");
    assert!(
        !problems
            .iter()
            .any(|problem| problem.what.contains("parser failed")),
        "the scanner panicked"
    );
    problems
        .iter()
        .for_each(|problem| drop(problem.to_string()));
    drop(userdata::classify(bytes));
    let mut layers = Layers::default();
    layers.add_file(Owner::User, bytes, "file");
    drop(layers.resolve());
    drop(cmdline::parse(&String::from_utf8_lossy(bytes)));
    drop(convert(bytes, "file", &NOTHING));
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "took {:?}",
        begun.elapsed()
    );
}

fn stopped_by(bytes: &[u8]) -> String {
    yaml::parse(bytes, "f").map_or_else(|problem| problem.to_string(), |_| "parsed".into())
}

#[test]
fn alias_bombs_are_refused_before_they_are_copied() {
    let mut laughs = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..30 {
        let before = level - 1;
        laughs.push_str(&format!(
            "a{level}: &a{level} [{}]\n",
            vec![format!("*a{before}"); 9].join(", ")
        ));
    }
    assert!(stopped_by(laughs.as_bytes()).contains("Too many values"));
    let mut text = format!("a: &a {}\nb:\n", "x".repeat(1 << 20));
    text.push_str(&"- *a\n".repeat(90_000));
    assert!(stopped_by(text.as_bytes()).contains("Too many values"));
    let mut nested = String::from("k0: &k0 {x: 1}\n");
    for level in 1..3000 {
        nested.push_str(&format!("k{level}: &k{level}\n  n: *k{}\n", level - 1));
    }
    assert!(stopped_by(nested.as_bytes()).contains("Nested too deeply"));
    assert!(stopped_by(b"a: &a [*a]\n").contains("refers to the value that contains it"));
    assert!(stopped_by(b"a: *nobody\n").contains("Not YAML"));
    let mut merges = String::from("m0: &m0 {a: 1, b: 2}\n");
    for level in 1..60 {
        let before = level - 1;
        merges.push_str(&format!(
            "m{level}: &m{level}\n  <<: [*m{before}, *m{before}]\n  k{level}: 1\n"
        ));
    }
    feed(merges.as_bytes());
}

#[test]
fn depth_is_limited() {
    for (open, what) in [
        ("[", "flow"),
        ("{a: ", "maps"),
        ("- ", "list"),
        ("? ", "keys"),
        ("[{a: ", "mixed"),
    ] {
        for count in [MAX_DEPTH + 1, 1000, 1_000_000] {
            let text = open.repeat(count);
            assert_ne!(stopped_by(text.as_bytes()), "parsed", "{what} {count}");
        }
    }
    let fine = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
    assert_eq!(stopped_by(fine.as_bytes()), "parsed");
}

#[test]
fn much_of_anything() {
    const SIZE: usize = 200 << 10;
    let patterns = [
        "a",
        " ",
        "\n",
        "\t",
        "#",
        "- a\n",
        "a: b\n",
        "a\n",
        "[",
        "]",
        "{",
        "}",
        ",",
        "[a,",
        "{a: b,",
        "a,",
        "\"",
        "'",
        "\\",
        "|\n",
        ">\n a\n",
        "&a ",
        "*a ",
        "!a ",
        "!!str ",
        "--- a\n",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "? a\n: b\n",
        ": ",
        "?",
        "\r\n",
        "\u{e9}",
        "\u{feff}",
        "\0",
        "<<: ",
        "- - - ",
        "a:\n b:\n  c:\n",
        "\"\n",
        "'\n\n",
        "$public_ipv4",
        "\u{2028}",
        "a: |\n  x\n",
        "`",
        "@",
        "~\n",
    ];
    for pattern in patterns {
        feed(pattern.repeat(SIZE / pattern.len()).as_bytes());
        feed(format!("a: {}", pattern.repeat(SIZE / pattern.len())).as_bytes());
    }
    for pattern in ["a: |\n  x\n", "- a\n", "a,", "é"] {
        let text = pattern.repeat((10 << 20) / pattern.len());
        let begun = Instant::now();
        drop(yaml::parse(text.as_bytes(), "file"));
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{pattern:?} took {:?}",
            begun.elapsed()
        );
    }
    assert!(stopped_by(&vec![b'a'; MAX_BYTES + 1]).contains("Too large"));
}

/// Work that grows with the square of the file would show here.
#[test]
fn many_keys_of_old_files() {
    let lines = |line: &dyn Fn(usize) -> String| (0..20_000).map(line).collect::<String>();
    for text in [
        lines(&|at| format!("rancher.environment.A{at}: x\n")),
        lines(&|at| format!("rancher.a{at}: x\n")),
        format!(
            "rancher:\n services:\n{}",
            lines(&|at| format!("  s{at}: {{build: .}}\n"))
        ),
        format!(
            "rancher:\n services_include:\n{}",
            lines(&|at| format!("  s{at}: true\n"))
        ),
        format!(
            "rancher:\n cloud_init:\n  datasources:\n{}",
            lines(&|at| format!("   - s{at}\n"))
        ),
        format!(
            "rancher:\n network:\n  interfaces:\n{}",
            lines(&|at| format!("   - {{match: e{at}}}\n"))
        ),
        format!(
            "rancher:\n docker:\n  extra_args:\n{}",
            lines(&|_| "   - --cluster-store\n   - a\n".into())
        ),
    ] {
        let begun = Instant::now();
        let refused = convert(text.as_bytes(), "file", &NOTHING).err();
        assert!(refused.is_none(), "{refused:?}");
        // Without optimisation; a step with the square of this takes 9.
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?} {}",
            begun.elapsed(),
            &text[..80]
        );
    }
}

#[test]
fn binary_is_not_text() {
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    feed(&bytes);
    assert_eq!(
        stopped_by(b"a: b\nc: \x00\n"),
        "f:2:4: Control character U+0000: not a text file; remove it, or encode the content with base64"
    );
    assert_eq!(
        stopped_by(b"a: \xff\n"),
        "f:1:4: Not UTF-8 text; save the file as UTF-8"
    );
    assert!(stopped_by(b"\xff\xfeh\x00o\x00").contains("Not UTF-8"));
}

/// Text from the characters that mean something to YAML and the command line.
fn noise() -> impl Strategy<Value = String> {
    let words = [
        "a",
        "b: ",
        "rancher",
        "hostname",
        ":",
        " ",
        "  ",
        "\n",
        "\n  ",
        "\n- ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "\"",
        "'",
        "\\",
        "|",
        ">",
        "&a",
        "*a",
        "!!int ",
        "#",
        "---\n",
        "...\n",
        "%",
        "?",
        "~",
        "\t",
        "\r\n",
        "<<: ",
        "é",
        "\u{feff}",
        "$private_ipv4",
        "rancher.",
        "cc.",
        "=",
        "--",
        "true",
        "0",
        "write_files:\n- ",
        "mounts: ",
        "rancher:\n  ",
        "ssh_authorized_keys: ",
        "null",
        "@",
        "`",
    ];
    proptest::collection::vec(prop::sample::select(words.to_vec()), 0..60)
        .prop_map(|parts| parts.concat())
}

const SAMPLES: [&str; 4] = [
    include_str!("convert/bare-metal.yml"),
    include_str!("convert/before-1.0.yml"),
    include_str!("convert/cloud-vm.yml"),
    include_str!("convert/registry.yml"),
];

/// Where, how much goes, and what comes instead.
fn damage() -> impl Strategy<Value = Vec<(usize, usize, String)>> {
    let instead = prop_oneof!["\\PC{0,3}", noise(), "[ \n:{}-]{0,6}"];
    proptest::collection::vec((any::<usize>(), 0..12_usize, instead), 1..6)
}

fn damaged(sample: &str, damage: Vec<(usize, usize, String)>) -> String {
    let mut letters: Vec<char> = sample.chars().collect();
    for (at, length, instead) in damage {
        let from = at % (letters.len() + 1);
        let to = (from + length).min(letters.len());
        letters.splice(from..to, instead.chars());
    }
    letters.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn noise_never_panics(text in noise()) {
        feed(text.as_bytes());
    }

    #[test]
    fn bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        feed(&bytes);
    }
    #[test]
    fn damaged_files_are_refused_or_come_out_well(sample in prop::sample::select(SAMPLES.to_vec()), damage in damage()) {
        let text = damaged(sample, damage);
        if let Ok(conversion) = convert(text.as_bytes(), "file", &NOTHING) {
            let out = conversion.text();
            let errors = schema::check_text(out.as_bytes(), "file").into_iter().filter(|problem| problem.severity == Severity::Error).count();
            prop_assert_eq!(errors, 0, "{}", out);
            let again = convert(out.as_bytes(), "file", &NOTHING).map(|again| again.text()).ok();
            prop_assert_eq!(again, Some(out));
        }
    }
}
