//! The texts that people read: every kind of finding, word for word.

use os_config::schema::check_text;

fn findings(text: &str) -> String {
    let problems = check_text(text.as_bytes(), "cloud-config.yml");
    problems
        .iter()
        .map(|problem| format!("{:?} {problem}\n", problem.severity))
        .collect()
}

#[track_caller]
fn expect(text: &str, expected: &[&str]) {
    let found = findings(text);
    let found: Vec<&str> = found.lines().collect();
    assert_eq!(found, expected, "\n{text}");
}

#[test]
fn the_ancestors_texts() {
    expect(
        "#cloud-config\nbad_key: 1\nrancher:\n  - a\n",
        &[
            "Error cloud-config.yml:2:1: bad_key: Additional property bad_key is not allowed; remove it, or look the key up in the documentation",
            "Error cloud-config.yml:4:3: rancher: Invalid type. Expected: object, given: array; write `key: value` lines below it, indented and without `-`",
        ],
    );
}

#[test]
fn every_problem_is_told_at_once() {
    let text = "\
hostnam: a
ssh:
  port: 1
rancher:
  hostname: x
  debug: \"yes\"
  password: p
  ssh:
    port: '22'
    daemon: maybe
    prot: 3
  network:
    dhcp_timeout: -1
    interfaces:
      eth0:
        dhcp: [true]
        adress: 1.2.3.4/24
  upgrade:
    policy: always
  docker:
    restart: true
  services:
    a: nginx
groups:
- x
";
    expect(
        text,
        &[
            "Error cloud-config.yml:1:1: hostnam: Additional property hostnam is not allowed; did you mean `hostname`?",
            "Error cloud-config.yml:2:1: ssh: Additional property ssh is not allowed; did you mean `rancher.ssh`?",
            "Error cloud-config.yml:5:3: rancher.hostname: Additional property hostname is not allowed; `hostname` stands at the top level, without indentation",
            "Error cloud-config.yml:6:10: rancher.debug: Invalid type. Expected: boolean, given: string; write true or false without quotes",
            "Error cloud-config.yml:7:3: rancher.password: Additional property password is not allowed; give it on the kernel command line: rancher.password=…",
            "Error cloud-config.yml:9:11: rancher.ssh.port: Invalid type. Expected: integer, given: string; write a whole number without quotes",
            "Error cloud-config.yml:10:13: rancher.ssh.daemon: Invalid type. Expected: boolean, given: string; write true or false without quotes",
            "Error cloud-config.yml:11:5: rancher.ssh.prot: Additional property prot is not allowed; did you mean `port`?",
            "Error cloud-config.yml:13:19: rancher.network.dhcp_timeout: Out of range: `-1`; write a number from 0 to 86400",
            "Error cloud-config.yml:16:15: rancher.network.interfaces.eth0.dhcp: Invalid type. Expected: boolean, given: array; write true or false without quotes",
            "Error cloud-config.yml:17:9: rancher.network.interfaces.eth0.adress: Additional property adress is not allowed; did you mean `address`?",
            "Error cloud-config.yml:19:13: rancher.upgrade.policy: `always` is not one of the allowed values; write one of `download`, `auto`, `none`",
            "Warning cloud-config.yml:21:14: rancher.docker.restart: Has no effect; Docker has no such flag any more; remove it",
            "Error cloud-config.yml:23:8: rancher.services.a: Invalid type. Expected: object, given: string; write `key: value` lines below it, indented and without `-`",
            "Error cloud-config.yml:24:1: groups: Additional property groups is not allowed; RancherOS does not have this key of cloud-init; remove it",
        ],
    );
}

#[test]
fn keys_without_effect_are_named() {
    expect(
        "rancher:\n  console: debian\n  network:\n    interfaces:\n      eth0: {wifi_network: home}\n  state: {rngd: true}\n",
        &[
            "Warning cloud-config.yml:2:12: rancher.console: Not supported yet; it has no effect",
            "Warning cloud-config.yml:5:28: rancher.network.interfaces.eth0.wifi_network: Not supported yet; it has no effect",
            "Warning cloud-config.yml:6:17: rancher.state.rngd: Has no effect; the kernel gathers its randomness itself; remove it",
        ],
    );
}

#[test]
fn bonds_bridges_and_vlans() {
    let text = "\
rancher:
  network:
    interfaces:
      eth0: {bond: a-name-too-long-for-a-link}
      eth1: {bridge: br/0}
      eth2:
        vlans: 100,4095
      eth3: {vlans: '100,200:a:b'}
      bond0:
        bond_opts: {mode: fastest, miimon: often, lacp_rte: fast, lacp_rate: 1, use_carrier: true}
      br0: {bridge: true}
      bond1: {vlans: 7, bond_opts: {mode: 802.3ad, arp_ip_target: '10.0.0.1,10.0.0'}}
";
    expect(
        text,
        &[
            "Error cloud-config.yml:4:20: rancher.network.interfaces.eth0.bond: `a-name-too-long-for-a-link` is not the name of a link; write at most 15 characters without space, `/` and `:`",
            "Error cloud-config.yml:5:22: rancher.network.interfaces.eth1.bridge: `br/0` is not true, false or the name of a bridge; write true for a bridge, or for its members its name, of at most 15 characters",
            "Error cloud-config.yml:7:16: rancher.network.interfaces.eth2.vlans: `100,4095` is not a list of VLANs; write it like \"100,200:name\": numbers from 1 to 4094, names of at most 15 characters",
            "Error cloud-config.yml:8:21: rancher.network.interfaces.eth3.vlans: `100,200:a:b` is not a list of VLANs; write it like \"100,200:name\": numbers from 1 to 4094, names of at most 15 characters",
            "Error cloud-config.yml:10:27: rancher.network.interfaces.bond0.bond_opts.mode: `fastest` is not one of the allowed values; write one of `balance-rr`, `active-backup`, `balance-xor`, `broadcast`, `802.3ad`, `balance-tlb`, `balance-alb`, `0`, `1`, `2`, `3`, `4`, `5`, `6`",
            "Error cloud-config.yml:10:44: rancher.network.interfaces.bond0.bond_opts.miimon: `often` is not a number; write a whole number from 0 to 2147483647",
            "Error cloud-config.yml:10:51: rancher.network.interfaces.bond0.bond_opts.lacp_rte: Additional property lacp_rte is not allowed; did you mean `lacp_rate`?",
            "Error cloud-config.yml:12:67: rancher.network.interfaces.bond1.bond_opts.arp_ip_target: `10.0.0.1,10.0.0` is not a list of IPv4 addresses; write it like \"192.168.1.1,192.168.1.2\", at most 16",
        ],
    );
}

#[test]
fn lists() {
    let text = "\
ssh_authorized_keys: ssh-rsa AAAA me
mounts:
- [/dev/sdb, /mnt/b, ext4, ]
- [/dev/sdc, /mnt/c, ext4, \"\"]
- /dev/sdd
write_files:
- content: x
- path: /a
  permissions: rw
  encoding: rot13
runcmd:
- echo a: b
- [echo, 1]
- echo c
rancher:
  modules: [a, a]
";
    expect(
        text,
        &[
            "Warning cloud-config.yml:1:22: ssh_authorized_keys: Invalid type. Expected: array, given: string; read as a list of this one value; write `- value` on a line of its own",
            "Error cloud-config.yml:3:3: mounts.0: Expected: 4 strings (device, target, type, options), given: 3; write all of them, `\"\"` for what is not needed; the entry is skipped",
            "Error cloud-config.yml:5:3: mounts.2: Invalid type. Expected: array, given: string; write it as a list: `- value` on a line of its own",
            "Error cloud-config.yml:7:3: write_files.0: path is required; add `path: …`; without it the entry is skipped",
            "Error cloud-config.yml:9:16: write_files.1.permissions: `rw` is not a file mode; write octal digits in quotes, such as \"0644\"; the file gets 0600",
            "Error cloud-config.yml:10:13: write_files.1.encoding: `rot13` is not one of the allowed values; write one of ``, `b64`, `base64`, `gz`, `gzip`, `gz+b64`, `gz+base64`, `gzip+b64`, `gzip+base64`",
            "Error cloud-config.yml:12:3: runcmd.0: Invalid type. Expected: string, given: object; put the command in quotes: it contains `: `",
            "Warning cloud-config.yml:16:16: rancher.modules: array items must be unique; remove one of the two, unless it is meant twice",
        ],
    );
}

#[test]
fn forms() {
    let text = "\
hostname: my host
ssh_authorized_keys: [\"a\\0b\"]
rancher:
  network:
    dns: {nameservers: [8.8.8.8, dns]}
    interfaces:
      eth0: {address: 10.0.0.300/24, gateway: fd00::1, mtu: 100000}
";
    expect(
        text,
        &[
            "Error cloud-config.yml:1:11: hostname: `my host` is not a host name; write at most 64 letters, digits, `-` and `.`",
            "Error cloud-config.yml:2:23: ssh_authorized_keys.0: Contains the character U+0000; remove it, or encode the content with base64",
            "Error cloud-config.yml:5:34: rancher.network.dns.nameservers.1: `dns` is not an IP address; write it like 192.168.1.1 or fd00::1",
            "Error cloud-config.yml:7:23: rancher.network.interfaces.eth0.address: `10.0.0.300/24` is not an address with prefix length; write it like 192.168.1.5/24 or fd00::5/64",
            "Error cloud-config.yml:7:47: rancher.network.interfaces.eth0.gateway: `fd00::1` is not an IPv4 address; write it like 192.168.1.1",
            "Error cloud-config.yml:7:61: rancher.network.interfaces.eth0.mtu: Out of range: `100000`; write a number from 0 to 65535",
        ],
    );
}

#[test]
fn text_that_is_not_as_it_should_be() {
    expect(
        "hostname: a\r\nhostname: b\r\nrancher:\r\n---\r\nx: 1\r\n",
        &[
            "Notice cloud-config.yml:1:12: file format shouldn't contain CRLF characters; read as if it had Unix line ends",
            "Error cloud-config.yml:2:1: hostname: Key hostname is given twice, first on line 1; the last one is used; put both under one key",
            "Warning cloud-config.yml:4:1: More than one YAML document: only the first is read; put everything before the second `---`",
            "Warning cloud-config.yml:3:8: rancher: No value; give it one, or remove the line",
        ],
    );
    expect(
        "- a\n",
        &[
            "Error cloud-config.yml:1:1: (root): Invalid type. Expected: object, given: array; write `key: value` lines below it, indented and without `-`",
        ],
    );
    expect("", &[]);
    expect("# nothing\n", &[]);
    expect(
        "just text",
        &[
            "Error cloud-config.yml:1:1: (root): Invalid type. Expected: object, given: string; write `key: value` lines below it, indented and without `-`",
        ],
    );
}

#[test]
fn syntax() {
    for (text, expected) in [
        (
            "rancher:\n\tdebug: true\n",
            "2:1: A tab indents this line; indent with spaces",
        ),
        (
            "rancher:\n  debug: true\n network:\n",
            "3:2: Not YAML: a line that is neither at the level of the keys above it nor below one;",
        ),
        (
            "hostname: a: b\n",
            "1:12: Not YAML: a second `:` where a value belongs;",
        ),
        (
            "hostname: \"a\nrancher: {}\n",
            "1:11: Not YAML: a quote is not closed;",
        ),
        (
            "rancher: {debug: true\nhostname: a\n",
            "2:9: Not YAML: a `[` or `{` is not closed;",
        ),
        ("a: [b\n", "2:1: Not YAML: a `[` or `{` is not closed;"),
        (
            "hostname a\nrancher:\n",
            "2:8: Not YAML: a second `:` where a value belongs;",
        ),
        (
            "a: @x\n",
            "1:4: Not YAML: unexpected character: `@'; put the value in quotes",
        ),
        (
            "key: 'it's'\n",
            "1:10: Not YAML: something follows the closing quote;",
        ),
        (
            "runcmd:\n- a\n\nb\n",
            "4:1: Not YAML: this line has no `key:`; add the colon, or indent the line",
        ),
        ("? [a]\n: b\n", "1:3: A list or map cannot be a key;"),
    ] {
        let found = findings(text);
        let start = format!("Error cloud-config.yml:{expected}");
        assert!(
            found.starts_with(&start) && found.lines().count() == 1,
            "{text:?}: {found}"
        );
    }
}
