//! Writes `docs/api/openapi.json`: `make openapi`.

mod document;

use std::path::Path;

fn main() -> std::io::Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(document::FILE);
    std::fs::write(&file, document::text())?;
    println!("{} is written", file.display());
    Ok(())
}
