//! What people read before they ask: help, and what a shell completes.

use crate::setup::{Person, Server};

#[test]
fn help_says_what_there_is() {
    let person = Person::new();
    let mut text = String::new();
    for words in [
        &["server"][..],
        &["agent", "join"],
        &["context", "add"],
        &["hosts"],
        &["ps"],
        &["tokens", "create"],
        &["networks", "set"],
        &["env"],
        &["events"],
        &["cluster", "check"],
    ] {
        let help = person.good(&[words, &["--help"]].concat());
        text.push_str(&format!("$ ros {} --help\n{help}\n", words.join(" ")));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_shell_completes_commands_and_names() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), "127.0.0.1:0");
    let person = Person::admin(&server);
    let complete = |words: &[&str]| {
        let mut command = person.command(&["--"]);
        let output = command
            .args(words)
            .env("ROS_COMPLETE", "bash")
            .env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string())
            .env("_CLAP_IFS", "\n")
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let commands = complete(&["ros", ""]);
    for name in ["server", "agent", "hosts", "ps", "env", "service", "config"] {
        assert!(commands.lines().any(|line| line == name), "{commands}");
    }
    assert!(complete(&["ros", "networks", "show", ""]).contains("ros\n"));
    assert!(complete(&["ros", "tokens", "remove", ""]).contains("first\n"));
    assert!(complete(&["ros", "context", "use", ""]).contains("home\n"));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = person.good(&["completion", shell]);
        assert!(script.contains("ROS_COMPLETE"), "{script}");
    }
    // Without a server nothing is completed, and nothing hangs.
    assert_eq!(server.stop(), Some(0));
    let begun = std::time::Instant::now();
    assert!(!complete(&["ros", "tokens", "remove", ""]).contains("first"));
    assert!(begun.elapsed() < std::time::Duration::from_secs(5));
}
