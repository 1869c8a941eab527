//! The `initrd` step: a small archive with `init`, followed by one with the root image. Only the small one changes when `init` does.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::context::Context;
use crate::cpio;
use crate::error::{Result, file};
use crate::root::{Root, single};
use crate::tree::{Node, Tree};

/// Writes `build/initrd` and `build/initrd-small`; returns the latter, which the ISO carries.
pub fn build(context: &Context, init: &Path, root: &Root) -> Result<PathBuf> {
    let epoch = context.settings.epoch;
    let mut tree = single("init", init, 0o755);
    tree.put("image-id", Node::text(format!("{}\n", root.image_id)));
    for path in ["dev", "proc", "sys", "run"] {
        tree.put(path, Node::dir());
    }
    // A process begins with three open files. Where the kernel has no console to open, they are this; without it PID 1 would end here.
    tree.put("dev/null", Node::device(1, 3));
    let small = compressed(context, &tree)?;
    let small_path = context.build.join("initrd-small");
    crate::context::write_if_changed(&small_path, &small)?;

    let path = context.build.join("initrd");
    let scratch = context.build.join(".initrd");
    let mut out = BufWriter::with_capacity(
        1 << 20,
        File::create(&scratch).map_err(file("create", &scratch))?,
    );
    out.write_all(&small).map_err(file("write", &scratch))?;
    cpio::write(
        &single("root.squashfs", &root.squashfs, 0o444),
        epoch,
        &mut out,
    )?;
    out.into_inner()
        .map_err(|e| file("write", &scratch)(e.into_error()))?;
    std::fs::rename(&scratch, &path).map_err(file("publish", &path))?;
    context.say(
        "initrd",
        &format!("{} and {}", path.display(), small_path.display()),
    );
    Ok(small_path)
}

/// The small archive, compressed: it is the one part that is unpacked to RAM.
fn compressed(context: &Context, tree: &Tree) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    cpio::write(tree, context.settings.epoch, &mut plain)?;
    let path = context.build.join(".initrd-small.cpio");
    std::fs::write(&path, plain).map_err(file("write", &path))?;
    let mut small = context
        .run("initrd", "zstd")
        .args(["-19", "-q", "-c"])
        .arg(&path)
        .output()?;
    // The kernel looks for the next archive at a multiple of four, after any number of zeros.
    small.resize(small.len().next_multiple_of(4), 0);
    std::fs::remove_file(&path).map_err(file("remove", &path))?;
    Ok(small)
}
