//! Each way to deliver a cloud-config: config drive on FAT and 9p, NoCloud, url, a URL on the kernel line, the kernel line itself,
//! a file on the state disk, a cloud's metadata service. The config drive on ISO 9660 is used by the other tests. One short boot each.

use qemu_tests::Result;
use qemu_tests::config_drive::{ConfigDrive, Content, Form};
use qemu_tests::disk::{Disk, STATE_LABEL};
use qemu_tests::error::HarnessError;
use qemu_tests::http::TextServer;
use qemu_tests::judge::{Judge, contains, equal};
use qemu_tests::machine::{Machine, Net, Nic};
use qemu_tests::stage::{Stage, on_stage};

/// A login proves that the key arrived, the host name that the rest did.
fn judge_delivered(stage: &Stage, machine: &Machine) -> Result<()> {
    let guest = stage.boot(machine)?;
    let mut judge = Judge::of(&stage.name);
    judge.check("host name and key are the delivered ones", || {
        equal(guest.ssh.ok("hostname")?, "delivered")
    });
    judge.verdict(&guest.vm.console.tail(40))
}

fn by_drive(name: &str, form: Form) -> Result<()> {
    on_stage(name, &[], |stage| {
        let drive = stage.config_drive(form, "hostname: delivered\n")?;
        judge_delivered(stage, &stage.direct()?.with_config_drive(&drive))
    })
}

#[test]
fn config_drive_on_fat() -> Result<()> {
    by_drive("delivery-fat", Form::Fat)
}

#[test]
fn config_drive_on_9p() -> Result<()> {
    by_drive("delivery-9p", Form::NineP)
}

#[test]
fn nocloud_seed_with_key_and_name_in_its_meta_data() -> Result<()> {
    on_stage("delivery-nocloud", &[], |stage| {
        let content = Content {
            user_data: "#cloud-config\nrancher:\n  environment:\n    A: b\n".into(),
            meta_data: format!(
                "instance-id: i-1\nlocal-hostname: delivered\npublic-keys:\n  - {}\n",
                stage.key()?.public()
            ),
        };
        let drive = ConfigDrive::create(stage.scratch(), Form::NoCloud, &content)?;
        judge_delivered(stage, &stage.direct()?.with_config_drive(&drive))
    })
}

#[test]
fn url_source() -> Result<()> {
    by_url("delivery-url", |url| {
        format!("rancher.cloud_init.datasources=[url:{url}]")
    })
}

#[test]
fn url_on_the_kernel_line() -> Result<()> {
    by_url("delivery-cmdline-url", |url| {
        format!("cloud-config-url={url}")
    })
}

fn by_url(name: &str, word: impl Fn(&str) -> String) -> Result<()> {
    on_stage(name, &[], |stage| {
        let server = TextServer::start(&stage.cloud_config("hostname: delivered\n")?)?;
        // The host as the guest sees it on QEMU's own network.
        let url = format!("http://10.0.2.2:{}/user-data", server.port());
        judge_delivered(stage, &stage.direct()?.with_word(word(&url)))
    })
}

/// Speaks as EC2's service does in version 2: nothing without a token, and a token for `PUT` only.
fn ec2(request: &str, key: &str) -> Option<String> {
    let (line, headers) = request.split_once("\r\n")?;
    let (line, headers) = (line.trim_end_matches(" HTTP/1.1"), headers.to_lowercase());
    if line == "PUT /latest/api/token" {
        return headers
            .contains("x-aws-ec2-metadata-token-ttl-seconds: ")
            .then(|| "SECRET==".into());
    }
    if !headers.contains("x-aws-ec2-metadata-token: secret==") {
        return None;
    }
    let user_data =
        "#cloud-config\nrancher:\n  environment:\n    WHERE: $private_ipv4 $public_ipv4\n";
    let page = match line.strip_prefix("GET /latest/")? {
        "meta-data/instance-id" => "i-0123456789abcdef0",
        "meta-data/hostname" => "delivered",
        "meta-data/local-ipv4" => "169.254.169.15",
        "meta-data/public-ipv4" => "203.0.113.7",
        "meta-data/public-keys/" => "0=tests",
        "meta-data/public-keys/0/openssh-key" => key,
        "user-data" => user_data,
        _ => return None,
    };
    Some(page.to_owned())
}

/// Nothing is configured: the firmware says that it is Amazon's, and the service is where Amazon has it.
#[test]
fn metadata_service_of_the_cloud_that_the_firmware_names() -> Result<()> {
    on_stage("delivery-ec2", &["socat"], |stage| {
        let key = stage.key()?.public().to_owned();
        let server = TextServer::answering(move |request| ec2(request, &key))?;
        let mut machine = stage.direct()?;
        machine.maker = Some("Amazon EC2".into());
        machine.nics = vec![Nic {
            net: Net::Cloud {
                service: server.port(),
                ssh: stage.ssh_port,
            },
            mac: None,
        }];
        let guest = stage.boot(&machine)?;
        let mut judge = Judge::of(&stage.name);
        judge.check("host name and key are the delivered ones", || {
            equal(guest.ssh.ok("hostname")?, "delivered")
        });
        judge.check("addresses stand in user-data", || {
            let known = guest
                .ssh
                .ok("sudo ros config get rancher.environment.WHERE")?;
            equal(known, "169.254.169.15 203.0.113.7")
        });
        judge.check("the source is told", || {
            contains(
                &guest.ssh.ok("sudo cat /run/ros/cloud-init.json")?,
                "ec2-metadata-service",
            )
        });
        judge.verdict(&guest.vm.console.tail(40))
    })
}

#[test]
fn kernel_line_alone() -> Result<()> {
    on_stage("delivery-kernel-line", &[], |stage| {
        let machine = stage
            .direct()?
            .with_word("cc.hostname=delivered")
            .with_word(format!(
                "cc.ssh_authorized_keys=[\"{}\"]",
                stage.key()?.public()
            ));
        judge_delivered(stage, &machine)
    })
}

#[test]
fn file_on_the_state_disk_and_an_installed_cloud_config() -> Result<()> {
    on_stage("delivery-file", &[], |stage| {
        let tree = stage.scratch().join("tree");
        let installed = tree.join("var/lib/rancher/conf/cloud-config.d");
        std::fs::create_dir_all(&installed)
            .map_err(HarnessError::file("make folder", &installed))?;
        let keys = stage.cloud_config("")?;
        let name = "#cloud-config\nhostname: delivered\n";
        let files = [
            (installed.join("user_config.yml"), keys.as_str()),
            (tree.join("var/user-data"), name),
        ];
        for (file, text) in &files {
            std::fs::write(file, text).map_err(HarnessError::file("write config", file))?;
        }
        let disk = Disk::ext4_with(&stage.scratch().join("state.img"), 2048, STATE_LABEL, &tree)?;
        let machine = stage
            .direct()?
            .with_disk(&disk)
            .with_word(format!("rancher.state.dev=LABEL={STATE_LABEL}"))
            .with_word("rancher.cloud_init.datasources=[file:/var/user-data]");
        judge_delivered(stage, &machine)
    })
}
