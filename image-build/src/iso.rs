//! The `iso` step: kernel, small initrd and root image on a medium that BIOS and UEFI boot, from CD and from a USB stick.

use std::fs;
use std::path::{Path, PathBuf};

use crate::context::{Context, fresh_dir};
use crate::error::{Result, file, missing};
use crate::hash::Inputs;
use crate::menu;
use crate::root::created;
use crate::run::Run;

/// Volume label; `init` looks for it.
const LABEL: &str = "RancherOS";

const ISOLINUX: [&str; 4] = [
    "/usr/lib/ISOLINUX/isolinux.bin",
    "/usr/lib/syslinux/modules/bios/ldlinux.c32",
    "/usr/lib/syslinux/modules/bios/menu.c32",
    "/usr/lib/syslinux/modules/bios/libutil.c32",
];
const HYBRID_MBR: &str = "/usr/lib/ISOLINUX/isohdpfx.bin";
const GRUB_MODULES: &str = "iso9660 fat part_gpt part_msdos linux normal configfile search search_fs_file search_label boot \
    serial terminal echo reboot halt efi_gop efi_uga video";

/// What goes on the medium.
pub struct Medium<'a> {
    /// The kernel.
    pub kernel: &'a Path,
    /// The small initrd, with `/init` and `/image-id`.
    pub initrd: &'a Path,
    /// The root image.
    pub squashfs: &'a Path,
    /// Its id.
    pub image_id: &'a str,
    /// Version for the menu.
    pub version: &'a str,
}

/// Runs the step; writes `build/ros.iso`.
pub fn build(context: &Context, medium: &Medium) -> Result<PathBuf> {
    let target = context.build.join("ros.iso");
    let mut inputs = Inputs::default();
    inputs
        .value("format", 3)
        .value("epoch", context.settings.epoch)
        .value("root", medium.image_id);
    inputs
        .file("kernel", medium.kernel)?
        .file("initrd", medium.initrd)?;
    inputs
        .value("isolinux", menu::isolinux(medium.version))
        .value("grub", menu::grub());
    for path in ISOLINUX.iter().chain([&HYBRID_MBR]) {
        if !Path::new(path).is_file() {
            return Err(missing(
                format!("{path} is not there"),
                "`make setup` installs isolinux and syslinux-common.",
            ));
        }
        inputs.file(path, Path::new(path))?;
    }
    let stamp = context.build.join(".iso-inputs");
    if target.is_file() && fs::read_to_string(&stamp).is_ok_and(|old| old == inputs.key()) {
        context.say("iso", "unchanged");
        return Ok(target);
    }
    context.say("iso", "building");
    let tree = context.build.join(".iso");
    lay_out(context, medium, &tree)?;
    pack(context, &tree, &target)?;
    fs::remove_dir_all(&tree).map_err(file("remove", &tree))?;
    fs::write(&stamp, inputs.key()).map_err(file("write", &stamp))?;
    context.say("iso", &target.display().to_string());
    Ok(target)
}

fn lay_out(context: &Context, medium: &Medium, tree: &Path) -> Result<()> {
    fresh_dir(tree)?;
    for folder in ["boot/grub", "isolinux"] {
        let folder = tree.join(folder);
        fs::create_dir_all(&folder).map_err(file("create", &folder))?;
    }
    let root_name = format!("boot/root-{}.squashfs", medium.image_id);
    let copies = [
        (medium.kernel, "boot/vmlinuz"),
        (medium.initrd, "boot/initrd"),
        (medium.squashfs, root_name.as_str()),
    ];
    for (from, to) in copies {
        let to = tree.join(to);
        fs::copy(from, &to).map_err(file("copy to", &to))?;
    }
    for from in ISOLINUX.map(Path::new) {
        let to = tree
            .join("isolinux")
            .join(from.file_name().unwrap_or_default());
        fs::copy(from, &to).map_err(file("copy to", &to))?;
    }
    let texts = [
        ("isolinux/isolinux.cfg", menu::isolinux(medium.version)),
        ("boot/grub/grub.cfg", menu::grub()),
    ];
    for (to, text) in texts {
        let to = tree.join(to);
        fs::write(&to, text).map_err(file("write", &to))?;
    }
    efi_partition(context, tree, &format!("/{root_name}"))
}

/// A FAT image with GRUB in it: what UEFI boots, as El Torito image and as GPT partition.
fn efi_partition(context: &Context, tree: &Path, marker: &str) -> Result<()> {
    let scratch = context.build.join(".efi");
    fresh_dir(&scratch)?;
    let (stub, grub, fat) = (
        scratch.join("stub.cfg"),
        scratch.join("BOOTX64.EFI"),
        tree.join("boot/efi.img"),
    );
    fs::write(&stub, menu::grub_stub(marker)).map_err(file("write", &stub))?;
    let run = context
        .run("iso", "grub-mkimage")
        .args(["-O", "x86_64-efi", "-p", "/boot/grub", "-c"])
        .arg(&stub);
    run.arg("-o")
        .arg(&grub)
        .args(GRUB_MODULES.split_whitespace())
        .go()?;
    let size = fs::metadata(&grub).map_err(file("read", &grub))?.len();
    // Room for the FAT's own tables, rounded to the 64 KiB that partitions are aligned to here.
    let image = (size + (64 << 10)).next_multiple_of(64 << 10);
    fs::File::create(&fat)
        .and_then(|f| f.set_len(image))
        .map_err(file("create", &fat))?;
    fixed_time(
        context,
        context
            .run("iso", "mkfs.vfat")
            .args(["--invariant", "-F", "12", "-n", "ROSEFI"])
            .arg(&fat),
    )
    .go()?;
    let tool = |program: &str| {
        fixed_time(context, context.run("iso", program))
            .env("MTOOLS_SKIP_CHECK", "1")
            .arg("-i")
            .arg(&fat)
    };
    tool("mmd").args(["::/EFI", "::/EFI/BOOT"]).go()?;
    tool("mcopy")
        .arg(&grub)
        .arg("::/EFI/BOOT/BOOTX64.EFI")
        .go()?;
    fs::remove_dir_all(&scratch).map_err(file("remove", &scratch))
}

fn pack(context: &Context, tree: &Path, target: &Path) -> Result<()> {
    let date = created(context.settings.epoch).replace(['-', ':', 'T', 'Z'], "") + "00";
    let scratch = context.build.join(".ros.iso");
    let run = fixed_time(
        context,
        context
            .run("iso", "xorriso")
            .args(["-as", "mkisofs", "-quiet", "-V", LABEL, "-o"])
            .arg(&scratch),
    );
    run.args([
        "-r",
        // Without 300 KiB of zeroes, meant for CDs that are written track at once: what is read lies before the end, where GPT's copy is.
        "-no-pad",
        "-iso-level",
        "3",
        &format!("--modification-date={date}"),
        "--set_all_file_dates",
        &date,
    ])
    .args([
        "-isohybrid-mbr",
        HYBRID_MBR,
        "-b",
        "isolinux/isolinux.bin",
        "-c",
        "isolinux/boot.cat",
    ])
    .args(["-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"])
    .args([
        "-eltorito-alt-boot",
        "-e",
        "boot/efi.img",
        "-no-emul-boot",
        "-isohybrid-gpt-basdat",
    ])
    .arg(tree)
    .go()?;
    fs::rename(&scratch, target).map_err(file("publish", target))
}

/// xorriso and mtools take every date from SOURCE_DATE_EPOCH.
fn fixed_time(context: &Context, run: Run) -> Run {
    run.env("SOURCE_DATE_EPOCH", context.settings.epoch.to_string())
        .env("TZ", "UTC")
}
