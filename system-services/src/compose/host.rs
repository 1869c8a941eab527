//! Keys that say what the container gets from the host: namespaces, rights, limits, devices, logs, ports. (Docker API: HostConfig.)

use std::collections::HashMap;

use bollard::models::{HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig};
use serde_json::Value;

use super::problem::Wrong;
use super::resources::{device, ports, size, ulimit};
use super::values::{flag, integer, pairs, text, texts};

/// Takes the key, if it is one of these.
pub(super) fn take(host: &mut HostConfig, key: &str, value: &Value) -> Result<bool, Wrong> {
    Ok(namespaces(host, key, value)?
        || rights(host, key, value)?
        || limits(host, key, value)?
        || names_and_logs(host, key, value)?)
}

fn namespaces(host: &mut HostConfig, key: &str, value: &Value) -> Result<bool, Wrong> {
    match key {
        "net" | "network_mode" => host.network_mode = Some(text(key, value)?),
        "pid" => host.pid_mode = Some(text(key, value)?),
        "ipc" => host.ipc_mode = Some(text(key, value)?),
        "uts" => host.uts_mode = Some(text(key, value)?),
        "userns_mode" => host.userns_mode = Some(text(key, value)?),
        "cgroup" => host.cgroupns_mode = Some(cgroup_namespace(key, &text(key, value)?)?),
        "cgroup_parent" => host.cgroup_parent = Some(text(key, value)?),
        _ => return Ok(false),
    }
    Ok(true)
}

fn cgroup_namespace(key: &str, given: &str) -> Result<HostConfigCgroupnsModeEnum, Wrong> {
    match given {
        "host" => Ok(HostConfigCgroupnsModeEnum::HOST),
        "private" => Ok(HostConfigCgroupnsModeEnum::PRIVATE),
        other => Err(Wrong::new(
            key,
            format!("expected host or private, given `{other}`"),
        )),
    }
}

fn rights(host: &mut HostConfig, key: &str, value: &Value) -> Result<bool, Wrong> {
    match key {
        "privileged" => host.privileged = Some(flag(key, value)?),
        "read_only" => host.readonly_rootfs = Some(flag(key, value)?),
        "cap_add" => host.cap_add = Some(texts(key, value)?),
        "cap_drop" => host.cap_drop = Some(texts(key, value)?),
        "group_add" => host.group_add = Some(texts(key, value)?),
        "security_opt" => security(host, texts(key, value)?),
        "devices" => {
            host.devices = Some(texts(key, value)?.iter().map(|line| device(line)).collect())
        }
        "device_cgroup_rules" => host.device_cgroup_rules = Some(texts(key, value)?),
        "annotations" => host.annotations = Some(map(key, value)?),
        "sysctls" => host.sysctls = Some(map(key, value)?),
        "init" => host.init = Some(flag(key, value)?),
        _ => return Ok(false),
    }
    Ok(true)
}

/// `systempaths=unconfined` is a word of the docker command line only; the API wants the two lists empty.
fn security(host: &mut HostConfig, options: Vec<String>) {
    let (paths, others): (Vec<String>, Vec<String>) = options
        .into_iter()
        .partition(|option| option == "systempaths=unconfined");
    if !paths.is_empty() {
        host.masked_paths = Some(Vec::new());
        host.readonly_paths = Some(Vec::new());
    }
    host.security_opt = (!others.is_empty()).then_some(others);
}

fn limits(host: &mut HostConfig, key: &str, value: &Value) -> Result<bool, Wrong> {
    match key {
        "cpu_shares" => host.cpu_shares = Some(integer(key, value)?),
        "cpu_quota" => host.cpu_quota = Some(integer(key, value)?),
        "cpu_period" => host.cpu_period = Some(integer(key, value)?),
        "cpuset" => host.cpuset_cpus = Some(text(key, value)?),
        "mem_limit" => host.memory = Some(size(key, value)?),
        "mem_reservation" => host.memory_reservation = Some(size(key, value)?),
        "memswap_limit" => host.memory_swap = Some(size(key, value)?),
        "mem_swappiness" => host.memory_swappiness = Some(integer(key, value)?),
        "oom_kill_disable" => host.oom_kill_disable = Some(flag(key, value)?),
        "oom_score_adj" => host.oom_score_adj = Some(integer(key, value)?),
        "pids_limit" => host.pids_limit = Some(integer(key, value)?),
        "shm_size" => host.shm_size = Some(size(key, value)?),
        "ulimits" => host.ulimits = Some(all_ulimits(key, value)?),
        _ => return Ok(false),
    }
    Ok(true)
}

fn all_ulimits(key: &str, value: &Value) -> Result<Vec<bollard::models::ResourcesUlimits>, Wrong> {
    let Value::Object(map) = value else {
        return Err(Wrong::new(key, "expected a map such as {nofile: 1024}"));
    };
    map.iter()
        .map(|(name, value)| ulimit(&format!("{key}.{name}"), name, value))
        .collect()
}

fn names_and_logs(host: &mut HostConfig, key: &str, value: &Value) -> Result<bool, Wrong> {
    match key {
        "dns" => host.dns = Some(texts(key, value)?),
        "dns_search" => host.dns_search = Some(texts(key, value)?),
        "dns_opt" => host.dns_options = Some(texts(key, value)?),
        "extra_hosts" => host.extra_hosts = Some(extra_hosts(key, value)?),
        "volume_driver" => host.volume_driver = Some(text(key, value)?),
        "tmpfs" => host.tmpfs = Some(tmpfs(key, value)?),
        "ports" => publish(host, key, value)?,
        "log_driver" => logs(host).typ = Some(text(key, value)?),
        "log_opt" => logs(host).config = Some(map(key, value)?),
        _ => return Ok(false),
    }
    Ok(true)
}

fn logs(host: &mut HostConfig) -> &mut HostConfigLogConfig {
    host.log_config.get_or_insert_with(Default::default)
}

fn extra_hosts(key: &str, value: &Value) -> Result<Vec<String>, Wrong> {
    let pairs = pairs(key, value, ':')?;
    Ok(pairs
        .into_iter()
        .map(|(name, address)| format!("{name}:{}", address.unwrap_or_default()))
        .collect())
}

fn tmpfs(key: &str, value: &Value) -> Result<HashMap<String, String>, Wrong> {
    let lines = texts(key, value)?;
    let split = lines
        .iter()
        .map(|line| line.split_once(':').unwrap_or((line, "")));
    Ok(split
        .map(|(path, options)| (path.to_owned(), options.to_owned()))
        .collect())
}

fn publish(host: &mut HostConfig, key: &str, value: &Value) -> Result<(), Wrong> {
    let all = host.port_bindings.get_or_insert_with(HashMap::new);
    for (index, line) in texts(key, value)?.iter().enumerate() {
        for (port, binding) in ports(&format!("{key}[{index}]"), line)? {
            all.entry(port)
                .or_insert_with(|| Some(Vec::new()))
                .get_or_insert_with(Vec::new)
                .push(binding);
        }
    }
    Ok(())
}

fn map(key: &str, value: &Value) -> Result<HashMap<String, String>, Wrong> {
    Ok(pairs(key, value, '=')?
        .into_iter()
        .map(|(name, value)| (name, value.unwrap_or_default()))
        .collect())
}
