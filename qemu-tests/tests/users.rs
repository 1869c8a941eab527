//! `users` and `ntp` of a cloud-config: who may log in and do what, that each is the same after a reboot, what is refused and told, and whom the
//! clock service asks.

use qemu_tests::Result;
use qemu_tests::config_drive::Form;
use qemu_tests::disk::{FileSystem, STATE_LABEL};
use qemu_tests::guest::Guest;
use qemu_tests::judge::{Judge, contains, ensure, equal};
use qemu_tests::ssh::Ssh;
use qemu_tests::stage::on_stage;
use qemu_tests::wait::Patience;

const DOCKER: Patience = Patience::seconds(120);

/// `openssl passwd -6 -salt rancheros 'open sesame'`
const HASH: &str = "$6$rancheros$/k5obBBCZZ5FZOKGPsoxrmf9ozEYCVzx1UW19QowYC2Xt9wM.zaRmXhEq9S9JPjHkH2vT8l6rzKomS.3bSM/p0";

/// `users:` is on line 4 of the user-data, after the key of the run.
fn people(key: &str) -> String {
    format!(
        r#"users:
  - default
  - name: web
    gecos: Web
    groups: docker, staff
    ssh_authorized_keys: ["{key}"]
    sudo: false
  - name: ops
    uid: 1500
    shell: /bin/sh
    ssh_authorized_keys: ["{key}"]
    sudo: ["ALL=(root) NOPASSWD:/usr/bin/id", "ALL=(ALL) PASSWD:/usr/bin/whoami"]
    passwd: "{HASH}"
    lock_passwd: false
  - name: odd
    ssh_authorized_keys: ["{key}"]
    sudo: "ALL=(ALL NOPASSWD:ALL"
    shell: /bin/zsh
    homedir: /home/odd-one
    passwd: "{HASH}"
  - name: plain
    passwd: hunter2
  - name: "bad:name"
  - name: root
    ssh_authorized_keys: ["{key}"]
  - name: rancher
    groups: [staff]
  - name: clash
    uid: 1500
  - name: svc
    homedir: /opt/svc
    no_create_home: true
    shell: /usr/sbin/nologin
    hashed_passwd: "{HASH}"
    lock_passwd: false
ntp:
  servers: [10.0.2.77, "10.0.2.78 prefer"]
  pools: [pool.example.com]
"#
    )
}

/// Then: one more before `web`, and the others gone.
const LATER: &str =
    r#"[{name: first}, {name: web, groups: [docker], ssh_authorized_keys: ["KEY"]}]"#;

/// The users of a machine, each with the key of the run.
struct Logins {
    web: Ssh,
    ops: Ssh,
    odd: Ssh,
    root: Ssh,
}

impl Logins {
    fn drop_connections(&self) {
        for ssh in [&self.web, &self.ops, &self.odd, &self.root] {
            ssh.drop_connection();
        }
    }
}

#[test]
fn users_and_time_servers() -> Result<()> {
    on_stage("users", &[], |stage| {
        let key = stage.key()?;
        let state = stage.disk("state.img", 4096, FileSystem::Ext4, STATE_LABEL)?;
        let machine = stage
            .direct()?
            .with_disk(&state)
            .with_config_drive(&stage.config_drive(Form::Iso, &people(key.public()))?)
            .with_word(format!("rancher.state.dev=LABEL={STATE_LABEL}"));
        let mut guest = stage.boot(&machine)?;
        let login = |name| Ssh::new(key, name, stage.ssh_port, stage.scratch());
        let logins = Logins {
            web: login("web"),
            ops: login("ops"),
            odd: login("odd"),
            root: login("root"),
        };
        let mut judge = Judge::of(&stage.name);
        judge_web(&mut judge, &guest, &logins);
        judge_ops(&mut judge, &logins);
        judge_refused(&mut judge, &guest, &logins);
        judge_homes(&mut judge, &guest, &logins);
        judge_clock(&mut judge, &guest);
        judge_applied(&mut judge, &guest, &logins, key.public());
        judge.check("no clock and a broken file are configured", || {
            guest.ssh.ok("sudo ros config set ntp.enabled false")?;
            let file = "/var/lib/rancher/conf/cloud-config.d/zz.yml";
            let write = format!("printf '#cloud-config\\nusers: web\\n' | sudo tee {file}");
            guest.ssh.ok(&write).map(drop)
        });
        let old = guest.boot_id()?;
        judge.check("reboot", || {
            // `reboot` would refuse for the errors of the configuration, and PID 1 does not ask.
            drop(guest.ssh.run("sudo kill -TERM 1")?);
            guest.wait_for_next_login(&old)
        });
        logins.drop_connections();
        judge_later(&mut judge, &guest, &logins);
        judge.verdict(&guest.vm.console.tail(40))
    })
}

fn judge_web(judge: &mut Judge, guest: &Guest, logins: &Logins) {
    let ssh = &logins.web;
    judge.check("web logs in with the key", || {
        equal(
            ssh.ok("id -un; id -u; id -gn; pwd; echo $SHELL; stat -c '%U %a' .")?,
            "web\n2000\nweb\n/home/web\n/bin/bash\nweb 700",
        )
    });
    judge.check("web has the comment of the configuration", || {
        contains(
            &ssh.ok("grep ^web: /etc/passwd")?,
            ":Web:/home/web:/bin/bash",
        )
    });
    judge.check("a member of docker needs no sudo for docker", || {
        guest.ssh.wait_for("docker version", DOCKER)?;
        contains(&ssh.ok("docker ps")?, "CONTAINER ID")
    });
    judge.check("a group that was not there is made", || {
        contains(&ssh.ok("id -Gn")?, "staff")
    });
    judge.check("`sudo: false` is no sudo", || {
        refuses(ssh, "sudo -n id").map(drop)
    });
    judge.check("web has no password, not even an empty one", || {
        let line = guest.ssh.ok("sudo grep ^web: /etc/shadow")?;
        ensure(line.starts_with("web:*:"), || line.clone())
    });
}

fn judge_ops(judge: &mut Judge, logins: &Logins) {
    let ssh = &logins.ops;
    judge.check("ops has the id and the shell it asks for", || {
        equal(ssh.ok("id -u; echo $SHELL")?, "1500\n/bin/sh")
    });
    judge.check("sudo as told, and nothing else", || {
        equal(ssh.ok("sudo -n /usr/bin/id -u")?, "0")?;
        refuses(ssh, "sudo -n cat /etc/shadow").map(drop)
    });
    judge.check("sudo asks for the password of the configuration", || {
        let sudo = "sudo -k -S -p '' /usr/bin/whoami";
        equal(ssh.ok_with_input(sudo, b"open sesame\n")?, "root")?;
        let answer = ssh.run_with_input(sudo, b"wrong\n")?;
        ensure(answer.code != 0, || answer.text())
    });
    judge.check("who is not in group docker may not use it", || {
        contains(&refuses(ssh, "docker ps")?, "permission denied")
    });
    judge.check("ssh takes no password", || {
        let offered = "ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
                       -o PreferredAuthentications=password ops@127.0.0.1 true || exit 1";
        contains(&refuses(ssh, offered)?, "(publickey)")
    });
}

fn judge_refused(judge: &mut Judge, guest: &Guest, logins: &Logins) {
    judge.check("root stays locked", || {
        equal(logins.root.run("true")?.code, 255)
    });
    judge.check("a broken rule of sudo costs its user the rule only", || {
        equal(logins.odd.ok("echo $SHELL")?, "/bin/bash")?;
        refuses(&logins.odd, "sudo -n id")?;
        equal(guest.ssh.ok("sudo -n id -u")?, "0")
    });
    judge.check("what is wrong is told with file, line and key", || {
        let answer = guest.ssh.run("sudo ros config validate")?;
        let text = answer.text();
        ensure(answer.code != 0, || text.clone())?;
        [
            "boot.yml:20:11: users.odd.sudo: sudo does not understand it",
            "boot.yml:21:12: users.odd.shell: /bin/zsh is not in the console",
            "boot.yml:23:13: users.odd.passwd: Has no effect",
            "boot.yml:25:13: users.4.passwd: The text is not a password hash",
            "boot.yml:26:11: users.5.name: `bad:name` is not a user name",
            "boot.yml:27:11: users.root.name: root is an account of the system",
            "boot.yml:32:10: users.clash.uid: 1500 is the id of ops already",
            "boot.yml:40:24: ntp.servers.1: `10.0.2.78 prefer`",
        ]
        .iter()
        .try_for_each(|part| contains(&text, part))?;
        ensure(!text.contains("hunter2"), || "a password is shown".into())
    });
    judge.check("the login banner tells too", || {
        contains(&guest.ssh.ok("cat /etc/motd")?, "users.odd.sudo")
    });
    judge.check("rancher is rancher, with one group more", || {
        equal(guest.ssh.ok("id -u")?, "1100")?;
        contains(&guest.ssh.ok("id -Gn")?, "staff")
    });
    judge.check("hashes are not exported", || {
        let text = guest.ssh.ok("sudo ros config export")?;
        contains(&text, "name: ops")?;
        ensure(!text.contains("$6$"), || text.clone())
    });
}

fn judge_homes(judge: &mut Judge, guest: &Guest, logins: &Logins) {
    judge.check("a home elsewhere, and a password that is locked", || {
        equal(
            logins.odd.ok("pwd; stat -c '%U %a' .")?,
            "/home/odd-one\nodd 700",
        )?;
        let line = guest.ssh.ok("sudo grep ^odd: /etc/shadow")?;
        ensure(line.starts_with("odd:*:"), || "odd has a password".into())
    });
    judge.check("who is to have no home and no shell has none", || {
        let line = guest.ssh.ok("grep ^svc: /etc/passwd")?;
        ensure(line.ends_with("::/opt/svc:/usr/sbin/nologin"), || {
            line.clone()
        })?;
        refuses(&guest.ssh, "sudo ls /opt/svc")?;
        guest.ssh.ok("sudo grep -q '^svc:[$]6[$]' /etc/shadow")?;
        equal(guest.ssh.ok("id -u ops")?, "1500")?;
        let clash = guest.ssh.ok("id -u clash")?;
        ensure(clash != "1500", || clash.clone())
    });
}

fn judge_clock(judge: &mut Judge, guest: &Guest) {
    let ssh = &guest.ssh;
    judge.check("chrony's file has the servers and pools", || {
        let file = "sudo system-docker exec ntp cat /etc/chrony/sources.d/cloud-config.sources";
        let text = ssh.wait_for(file, Patience::seconds(90))?;
        ensure(
            text.ends_with("\nserver 10.0.2.77 iburst\npool pool.example.com iburst"),
            || text.clone(),
        )
    });
    judge.check("chronyd asks them", || {
        let sources = "sudo system-docker exec ntp chronyc -n sources | grep -F 10.0.2.77";
        ssh.wait_for(sources, Patience::seconds(30)).map(drop)
    });
}

/// Without a reboot, as an operator takes somebody's rights away.
fn judge_applied(judge: &mut Judge, guest: &Guest, logins: &Logins, key: &str) {
    let ssh = &guest.ssh;
    let later = LATER.replace("KEY", key);
    judge.check("other users are configured and applied", || {
        logins
            .ops
            .ok("setsid sleep 1000 > /dev/null 2>&1 < /dev/null &")?;
        let processes = ssh.ok(PROCESSES_OF_OPS)?;
        ensure(processes != "0", || "ops has no process to be ended".into())?;
        ssh.ok(&format!("sudo ros config set users '{later}'"))?;
        ssh.ok("sudo cloud-init-execute").map(drop)
    });
    judge.check("who is taken out has no account and no process", || {
        ssh.wait_for(
            &format!("test $({PROCESSES_OF_OPS}) = 0"),
            Patience::seconds(20),
        )?;
        equal(logins.ops.run("true")?.code, 255)?;
        refuses(ssh, "grep ^ops: /etc/passwd")?;
        equal(ssh.ok("sudo -n id -u")?, "0")
    });
    judge.check("who is left keeps connection and id", || {
        equal(logins.web.ok("id -u")?, "2000")
    });
}

/// busybox's ps does not look by id. One line a process; what has ended and waits to be reaped has no size of memory.
const PROCESSES_OF_OPS: &str =
    "cat /proc/[0-9]*/status 2>/dev/null | grep -A12 '^Uid:.1500' | grep -c ^VmSize: || true";

fn judge_later(judge: &mut Judge, guest: &Guest, logins: &Logins) {
    let ssh = &guest.ssh;
    judge.check("web has the same id, whoever else came and went", || {
        let text = logins.web.ok("id -u; stat -c %u /home/web")?;
        equal(text, "2000\n2000")?;
        equal(logins.web.run("id -Gn")?.stdout.contains("staff"), false)?;
        let first = ssh.ok("id -u first")?;
        ensure(first != "2000" && first != "1500", || first.clone())
    });
    judge.check("who is not listed is gone, and the home is kept", || {
        equal(logins.ops.run("true")?.code, 255)?;
        refuses(
            ssh,
            "sudo grep -E '^(ops|odd|plain|svc):' /etc/passwd /etc/shadow",
        )?;
        equal(
            ssh.ok("sudo ls /etc/sudoers.d | grep -c cloud-config || true")?,
            "0",
        )?;
        equal(ssh.ok("stat -c %u /home/ops")?, "1500")
    });
    judge.check("a file whose `users` is no list costs only that", || {
        let answer = ssh.run("sudo ros config validate")?;
        contains(&answer.text(), "zz.yml:2:8: users: Invalid type")?;
        ssh.ok("id first").map(drop)
    });
    judge.check(
        "a clock that is left alone has no container that runs",
        || {
            ssh.wait_for("docker version", DOCKER)?;
            let names = ssh.ok("sudo system-docker ps --format '{{.Names}}'")?;
            ensure(!names.lines().any(|name| name == "ntp"), || names.clone())
        },
    );
}

/// The output of a command that must fail.
fn refuses(ssh: &Ssh, command: &str) -> Result<String> {
    let answer = ssh.run(command)?;
    ensure(answer.code != 0 && answer.code != 255, || {
        format!("exit code {}: {}", answer.code, answer.text())
    })?;
    Ok(answer.text())
}
