//! Inputs made to hurt: none may panic, hang, overflow the stack or take much memory.

use os_config::yaml::{self, MAX_BYTES, MAX_DEPTH};
use os_config::{cmdline, layers::Layers, layers::Owner, schema, userdata};
use proptest::prelude::*;
use std::time::{Duration, Instant};

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
}
