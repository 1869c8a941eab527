//! Every key of the cloud-config, as data. The same names as the fields of `types`.

use super::Kind::{Accounts, Ignored, Plain, Planned, Private, Required};
use super::Schema::{
    Any, AnyMap, Bool, Command, Formatted, Hidden, Integer, List, Map, Named, Object, OneOf,
    OneOrMore, Rules, Secret, Switch, Text, Tuple, Words,
};
use super::account_formats::{
    FOLDER, GECOS, GROUP_NAME, HASH, PLAIN_TEXT, PUBLIC_KEY, SHELL, SUDO_RULE, TIME_SERVER,
    USER_NAME,
};
use super::formats::{
    ADDRESS, CIDR, CLUSTER_NAME, HOST_NAME, IPV4, IPV6, LISTEN, MODE, SERVER_URL,
};
use super::links::{BOND_OPTIONS, BRIDGE, LINK_NAME, VLANS};
use super::{Key, Kind, Schema};

const MAX_SECONDS: i64 = 86_400;
const TEXTS: Schema = List(&Text);
const COMMANDS: Schema = List(&Command);
const SERVICES: Schema = Map(&AnyMap);

pub(super) const fn key(name: &'static str, schema: Schema) -> Key {
    Key {
        name,
        schema,
        kind: Plain,
    }
}

const fn of_kind(name: &'static str, schema: Schema, kind: Kind) -> Key {
    Key { name, schema, kind }
}

/// Known, and read by nothing yet.
const fn planned(name: &'static str, schema: Schema) -> Key {
    of_kind(name, schema, Planned)
}

/// The whole cloud-config.
pub static ROOT: Schema = Object(&[
    key("hostname", Formatted(&HOST_NAME)),
    key("ssh_authorized_keys", TEXTS),
    of_kind("users", List(&Named(USER)), Accounts),
    key("ntp", Object(NTP)),
    key("write_files", List(&WRITE_FILE)),
    key(
        "mounts",
        List(&Tuple(&["device", "target", "type", "options"])),
    ),
    key("runcmd", COMMANDS),
    key("bootcmd", COMMANDS),
    key("rancher", Object(RANCHER)),
    // Written by RancherOS 1.x into init.yml.
    of_kind("EXTRA_CMDLINE", Text, Private),
]);

/// The lowest and the highest id that a person's account may have: below are the system's, above some programs see negative numbers.
const IDS: (i64, i64) = (1000, 2_000_000_000);

/// As cloud-init has them. What is ignored has another type there each time.
static USER: &[Key] = &[
    of_kind("name", Formatted(&USER_NAME), Required),
    key("gecos", Formatted(&GECOS)),
    key("groups", Words(&Formatted(&GROUP_NAME))),
    key("ssh_authorized_keys", List(&Formatted(&PUBLIC_KEY))),
    of_kind("passwd", Hidden(&HASH), Private),
    of_kind("hashed_passwd", Hidden(&HASH), Private),
    of_kind("plain_text_passwd", Hidden(&PLAIN_TEXT), Private),
    key("lock_passwd", Bool),
    key("sudo", Rules(&Formatted(&SUDO_RULE))),
    key("shell", Formatted(&SHELL)),
    key("uid", Integer(IDS.0, IDS.1)),
    key("homedir", Formatted(&FOLDER)),
    key("no_create_home", Bool),
    of_kind("primary_group", Any, OWN_GROUP),
    of_kind("no_user_group", Any, OWN_GROUP),
    of_kind(
        "create_groups",
        Any,
        Ignored("groups that do not exist are made; remove it"),
    ),
    of_kind("no_log_init", Any, Ignored("remove it")),
    of_kind(
        "system",
        Any,
        Ignored("ids below 1000 are the system's; remove it"),
    ),
    of_kind(
        "expiredate",
        Any,
        Ignored("accounts do not expire; take the entry out in time"),
    ),
    of_kind(
        "inactive",
        Any,
        Ignored("accounts do not expire; remove it"),
    ),
    of_kind(
        "selinux_user",
        Any,
        Ignored("the kernel has no SELinux; remove it"),
    ),
    of_kind(
        "ssh_import_id",
        Any,
        Ignored("write the keys as `ssh_authorized_keys`"),
    ),
    of_kind("ssh_redirect_user", Any, Ignored("remove it")),
    of_kind("doas", Any, Ignored("there is no doas; use `sudo`")),
    of_kind("snapuser", Any, Ignored("there is no snap; remove it")),
];

const OWN_GROUP: Kind = Ignored("every user has a group of its own; write others as `groups`");

static NTP: &[Key] = &[
    key("enabled", Bool),
    key("servers", OneOrMore(&Formatted(&TIME_SERVER))),
    key("pools", OneOrMore(&Formatted(&TIME_SERVER))),
    of_kind(
        "peers",
        Any,
        Ignored("the machine is a client only; use `servers`"),
    ),
    of_kind(
        "allow",
        Any,
        Ignored("the machine is a client only; remove it"),
    ),
    of_kind("ntp_client", Any, Ignored("it is chrony; remove it")),
    of_kind(
        "config",
        Any,
        Ignored("use `write_files` with `container: ntp` and path /etc/chrony/chrony.conf"),
    ),
];

static WRITE_FILE: Schema = Object(&[
    of_kind("path", Text, Required),
    key("content", Text),
    key("encoding", OneOf(&ENCODINGS)),
    key("owner", Text),
    key("permissions", Formatted(&MODE)),
    key("container", Text),
]);

const ENCODINGS: [&str; 9] = [
    "",
    "b64",
    "base64",
    "gz",
    "gzip",
    "gz+b64",
    "gz+base64",
    "gzip+b64",
    "gzip+base64",
];

static RANCHER: &[Key] = &[
    planned("console", Text),
    key("environment", Map(&Text)),
    key("services", SERVICES),
    key("services_include", Map(&Bool)),
    planned("bootstrap", SERVICES),
    planned("cloud_init_services", SERVICES),
    planned("bootstrap_docker", Object(DOCKER)),
    key("system_docker", Object(DOCKER)),
    key("docker", Object(DOCKER)),
    key("cloud_init", Object(&[key("datasources", TEXTS)])),
    key("debug", Bool),
    planned("log", Bool),
    of_kind(
        "rm_usr",
        Bool,
        Ignored("a root image that is on a disk takes no memory; remove it"),
    ),
    of_kind(
        "no_sharedroot",
        Bool,
        Ignored("mounts are always shared; remove it"),
    ),
    planned("force_console_rebuild", Bool),
    key("recovery", Bool),
    key("disable", List(&OneOf(&["password", "autologin"]))),
    key("modules", TEXTS),
    key("network", Object(NETWORK)),
    planned("repositories", Map(&Object(&[key("url", Text)]))),
    key("ssh", Object(SSH)),
    key("state", Object(STATE)),
    key("upgrade", Object(UPGRADE)),
    key("registry_auths", Map(&Object(REGISTRY_AUTH))),
    key("defaults", Object(DEFAULTS)),
    planned("resize_device", Text),
    key("sysctl", Map(&Text)),
    planned("restart_services", TEXTS),
    planned("hypervisor_service", Bool),
    key("shutdown_timeout", Integer(5, MAX_SECONDS)),
    planned("http_load_retries", Integer(0, 1000)),
    key("preload_wait", Bool),
    key("cluster", Object(CLUSTER)),
];

static CLUSTER: &[Key] = &[
    key("server", Switch(SERVER)),
    key("join", OneOrMore(&Formatted(&SERVER_URL))),
    of_kind("token", Secret, Private),
    key("name", Formatted(&CLUSTER_NAME)),
    key("address", Formatted(&ADDRESS)),
    key("labels", Map(&Text)),
];

static SERVER: &[Key] = &[
    key("listen", Formatted(&LISTEN)),
    key("names", OneOrMore(&Text)),
    key("data", Text),
    key("etcd", OneOrMore(&Formatted(&SERVER_URL))),
    key("etcd_ca", Text),
    key("etcd_cert", Text),
    key("etcd_key", Text),
];

static DOCKER: &[Key] = &[
    key("bridge", Text),
    key("bip", Text),
    key("config_file", Text),
    key("containerd", Text),
    key("debug", Bool),
    key("exec_root", Text),
    key("group", Text),
    key("graph", Text),
    key("data_root", Text),
    key("host", TEXTS),
    key("insecure_registry", TEXTS),
    key("live_restore", Bool),
    key("log_driver", Text),
    key("log_opts", Map(&Text)),
    key("pid_file", Text),
    key("registry_mirror", Text),
    of_kind(
        "restart",
        Bool,
        Ignored("Docker has no such flag any more; remove it"),
    ),
    key("selinux_enabled", Bool),
    key("storage_driver", Text),
    key("userland_proxy", Bool),
    planned("engine", Text),
    key("tls", Bool),
    key("tls_args", TEXTS),
    key("extra_args", TEXTS),
    of_kind("server_cert", Text, Private),
    of_kind("server_key", Secret, Private),
    of_kind("ca_cert", Text, Private),
    of_kind("ca_key", Secret, Private),
    key("environment", TEXTS),
    planned("storage_context", Text),
    planned("exec", Bool),
    of_kind("args", TEXTS, Ignored("use `extra_args`")),
];

static NETWORK: &[Key] = &[
    key("interfaces", Map(&Object(INTERFACE))),
    key("dns", Object(DNS)),
    key("dhcp_timeout", Integer(0, MAX_SECONDS)),
    key("pre_cmds", TEXTS),
    key("post_cmds", TEXTS),
    key("http_proxy", Text),
    key("https_proxy", Text),
    key("no_proxy", Text),
    planned("wifi_networks", Map(&Object(WIFI))),
    planned(
        "modem_networks",
        Map(&Object(&[key("apn", Text), key("extra_args", Text)])),
    ),
];

static DNS: &[Key] = &[
    key("nameservers", List(&Formatted(&ADDRESS))),
    key("search", TEXTS),
];

static INTERFACE: &[Key] = &[
    key("match", Text),
    key("dhcp", Bool),
    key("dhcp_args", Text),
    key("address", Formatted(&CIDR)),
    key("addresses", List(&Formatted(&CIDR))),
    key("ipv4ll", Bool),
    key("gateway", Formatted(&IPV4)),
    key("gateway_ipv6", Formatted(&IPV6)),
    key("mtu", Integer(0, 65_535)),
    key("bridge", Formatted(&BRIDGE)),
    key("bond", Formatted(&LINK_NAME)),
    key("bond_opts", Object(BOND_OPTIONS)),
    key("vlans", Formatted(&VLANS)),
    key("pre_up", TEXTS),
    key("post_up", TEXTS),
    planned("wifi_network", Text),
];

static WIFI: &[Key] = &[
    key("address", Text),
    key("gateway", Text),
    key("ssid", Text),
    of_kind("psk", Secret, Private),
    key("scan_ssid", Integer(0, 1)),
    key("priority", Integer(-1000, 1000)),
    key("pairwise", Text),
    key("group", Text),
    key("eap", Text),
    key("identity", Text),
    key("anonymous_identity", Text),
    key("ca_certs", TEXTS),
    key("client_certs", TEXTS),
    of_kind("private_keys", List(&Secret), Private),
    of_kind("private_key_passwds", List(&Secret), Private),
    key("phases", TEXTS),
    key("eapol_flags", Integer(0, 3)),
    key("key_mgmt", Text),
    of_kind("password", Secret, Private),
];

static SSH: &[Key] = &[
    key("daemon", Bool),
    key("port", Integer(1, 65_535)),
    key("listen_address", Text),
    of_kind("keys", Map(&Secret), Private),
];

static STATE: &[Key] = &[
    key("dev", Text),
    key("fstype", Text),
    key("directory", Text),
    key("wait", Bool),
    key("required", Bool),
    key("autoformat", TEXTS),
    planned("mdadm_scan", Bool),
    planned("lvm_scan", Bool),
    planned("cryptsetup", Bool),
    of_kind(
        "rngd",
        Bool,
        Ignored("the kernel gathers its randomness itself; remove it"),
    ),
    key("script", Text),
    key("oem_dev", Text),
    key("oem_fstype", Text),
    planned("boot_dev", Text),
    planned("boot_fstype", Text),
];

static UPGRADE: &[Key] = &[
    planned("url", Text),
    key("image", Text),
    planned("rollback", Text),
    planned("policy", OneOf(&["download", "auto", "none"])),
];

static REGISTRY_AUTH: &[Key] = &[
    key("username", Text),
    of_kind("password", Secret, Private),
    of_kind("auth", Secret, Private),
    key("email", Text),
    key("serveraddress", Text),
    of_kind("identitytoken", Secret, Private),
    of_kind("registrytoken", Secret, Private),
];

static DEFAULTS: &[Key] = &[
    key("hostname", Formatted(&HOST_NAME)),
    planned("docker", Object(DOCKER)),
    key("network", Object(NETWORK)),
    key("system_docker_logs", Text),
];
