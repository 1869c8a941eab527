//! Turns a position-independent Go program into one with a fixed address, and drops the symbols it exports to nobody.
//!
//! Debian links dockerd and docker as PIE: at every start the loader patches 340 000 addresses, which dirties 30 MB of private memory
//! a process, where Go's own releases have a fixed address and share those pages. The patches are applied here, once. Only what the
//! loader would do is done, at address [`BASE`]; code is position-independent and stays as it is. ELF: System V ABI, AMD64 supplement.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use goblin::container::Ctx;
use goblin::elf::dynamic::*;
use goblin::elf::header::{ET_DYN, ET_EXEC};
use goblin::elf::program_header::{PT_GNU_STACK, PT_LOAD};
use goblin::elf::reloc::*;
use goblin::elf::{Elf, Reloc, SectionHeader, Sym, Symtab};

use crate::context::Context;
use crate::error::{Result, data, file};
use crate::hash::Inputs;

/// Where linkers put programs that are not position-independent.
const BASE: u64 = 0x40_0000;

const SYMBOL: usize = 24;
const RELA: usize = 24;
/// Section of a symbol that another file defines.
const SHN_UNDEF: usize = 0;

/// The program at `path` with a fixed address, from the cache.
pub fn program(context: &Context, path: &Path) -> Result<PathBuf> {
    let mut inputs = Inputs::default();
    inputs.value("format", 2).file("program", path)?;
    let name = path.file_name().unwrap_or_default();
    let dir = context.cached("fixed", &inputs, |dir| {
        let mut bytes = fs::read(path).map_err(file("read", path))?;
        fix(&mut bytes).map_err(|problem| data(path, problem))?;
        let target = dir.join(name);
        fs::write(&target, bytes).map_err(file("write", &target))
    })?;
    Ok(dir.join(name))
}

/// What is needed of a program's headers, read before anything is changed.
struct Plan {
    /// What is added to every address: nothing when the program has a fixed one already.
    base: u64,
    /// (file offset, value) of 64-bit words.
    words: Vec<(usize, u64)>,
    /// (file offset, length) of what becomes zero before `words` are written.
    holes: Vec<(usize, usize)>,
}

/// Does it in place. Errors say what is not as expected; the bytes are unchanged then.
fn fix(bytes: &mut [u8]) -> std::result::Result<(), String> {
    let (mut plan, sections) = {
        let elf = Elf::parse(bytes).map_err(|e| e.to_string())?;
        let base = match elf.header.e_type {
            ET_DYN if elf.interpreter.is_some() => BASE,
            ET_EXEC if elf.interpreter.is_some() => 0,
            _ => return Err("is not a dynamically linked program".into()),
        };
        let mut plan = Plan {
            base,
            words: Vec::new(),
            holes: Vec::new(),
        };
        let kept = plan.relocations(&elf, bytes)?;
        plan.symbols(&elf, bytes)?;
        plan.headers(&elf, kept);
        let placed = elf
            .section_headers
            .iter()
            .enumerate()
            .filter(|(_, s)| s.sh_addr != 0);
        (plan, placed.map(|(i, _)| i).collect::<Vec<_>>())
    };
    plan.sections(bytes, &sections);
    plan.apply(bytes)
}

impl Plan {
    /// Applies what can be applied now; what stays for the loader moves together at the table's start. Returns how many stay.
    fn relocations(&mut self, elf: &Elf, bytes: &[u8]) -> std::result::Result<usize, String> {
        let table = place(elf, tag(elf, DT_RELA)?)?;
        let symbols = imports_and_exports(elf, bytes)?;
        let mut kept = 0;
        self.holes.push((table, elf.dynrelas.len() * RELA));
        for reloc in elf.dynrelas.iter() {
            let symbol = symbols
                .get(reloc.r_sym)
                .ok_or("has a relocation without a symbol")?;
            if let Some(stays) = self.relocation(elf, &reloc, &symbol)? {
                let at = table + kept * RELA;
                self.words.extend(
                    stays
                        .iter()
                        .enumerate()
                        .map(|(i, word)| (at + i * 8, *word)),
                );
                kept += 1;
            }
        }
        for (i, reloc) in elf.pltrelocs.iter().enumerate() {
            if symbols
                .get(reloc.r_sym)
                .is_none_or(|s| s.st_shndx != SHN_UNDEF)
            {
                return Err("calls a function of its own through the loader".into());
            }
            let table = place(elf, tag(elf, DT_JMPREL)?)?;
            self.words
                .push((table + i * RELA, reloc.r_offset + self.base));
            // Until it is bound, a slot leads back into the PLT.
            self.move_word(bytes, place(elf, reloc.r_offset)?);
        }
        if let Ok(got) = tag(elf, DT_PLTGOT) {
            self.move_word(bytes, place(elf, got)?);
        }
        Ok(kept)
    }

    /// Applies one relocation, or gives the words of the one that the loader must still apply.
    fn relocation(
        &mut self,
        elf: &Elf,
        reloc: &Reloc,
        symbol: &Sym,
    ) -> std::result::Result<Option<[u64; 3]>, String> {
        let addend = reloc.r_addend.unwrap_or(0);
        let at = place(elf, reloc.r_offset)?;
        let own = symbol.st_shndx != SHN_UNDEF;
        let stays = |symbol: usize, addend: i64| {
            [
                reloc.r_offset + self.base,
                (symbol as u64) << 32 | u64::from(reloc.r_type),
                addend as u64,
            ]
        };
        match reloc.r_type {
            R_X86_64_RELATIVE => self.words.push((at, self.base.wrapping_add_signed(addend))),
            R_X86_64_GLOB_DAT | R_X86_64_64 if own => {
                self.words.push((
                    at,
                    (symbol.st_value + self.base).wrapping_add_signed(addend),
                ));
            }
            // Symbol 0 stands for the program's own thread-local block: the name need not be looked up.
            R_X86_64_TPOFF64 | R_X86_64_DTPOFF64 if own => {
                return Ok(Some(stays(0, addend + symbol.st_value as i64)));
            }
            R_X86_64_DTPMOD64 if own => return Ok(Some(stays(0, addend))),
            R_X86_64_GLOB_DAT | R_X86_64_64 | R_X86_64_TPOFF64 | R_X86_64_DTPMOD64
            | R_X86_64_DTPOFF64 => {
                return Ok(Some(stays(reloc.r_sym, addend)));
            }
            other => {
                return Err(format!(
                    "has a relocation of type {other}, which is not known here"
                ));
            }
        }
        Ok(None)
    }

    /// Forgets exported symbols, their names and the hash table that finds them; imports stay.
    fn symbols(&mut self, elf: &Elf, bytes: &[u8]) -> std::result::Result<(), String> {
        let (symbols, strings) = (
            place(elf, tag(elf, DT_SYMTAB)?)?,
            place(elf, tag(elf, DT_STRTAB)?)?,
        );
        let mut names: BTreeSet<usize> = BTreeSet::from([0]);
        let versions = tag(elf, DT_VERSYM)
            .ok()
            .map(|v| place(elf, v))
            .transpose()?;
        for (i, symbol) in imports_and_exports(elf, bytes)?.iter().enumerate() {
            if symbol.st_shndx == SHN_UNDEF {
                names.insert(symbol.st_name);
            } else {
                self.holes.push((symbols + i * SYMBOL, SYMBOL));
                self.holes.extend(versions.map(|v| (v + i * 2, 2)));
            }
        }
        if let Some(verneed) = &elf.verneed {
            for need in verneed.iter() {
                names.insert(need.vn_file);
                names.extend(need.iter().map(|aux| aux.vna_name));
            }
        }
        let dynamic = elf.dynamic.as_ref().ok_or("has no dynamic section")?;
        let named = |d: &&Dyn| [DT_NEEDED, DT_SONAME, DT_RPATH, DT_RUNPATH].contains(&d.d_tag);
        names.extend(dynamic.dyns.iter().filter(named).map(|d| d.d_val as usize));
        self.forget_names(elf, strings, &names);
        self.empty_hash(elf)
    }

    /// Zeroes every byte of the string table that no kept name covers.
    fn forget_names(&mut self, elf: &Elf, strings: usize, names: &BTreeSet<usize>) {
        let mut free = 0;
        for name in names {
            let length = elf.dynstrtab.get_at(*name).map_or(0, str::len);
            if *name > free {
                self.holes.push((strings + free, name - free));
            }
            free = free.max(name + length + 1);
        }
        let end = elf.dynamic.as_ref().map_or(0, |d| d.info.strsz);
        self.holes.push((strings + free, end.saturating_sub(free)));
    }

    /// A GNU hash table with one empty bucket: nothing is found.
    fn empty_hash(&mut self, elf: &Elf) -> std::result::Result<(), String> {
        if tag(elf, DT_HASH).is_ok() {
            return Err("has an old-style symbol hash table".into());
        }
        let hash = section(elf, ".gnu.hash")?;
        let at = hash.sh_offset as usize;
        self.holes.push((at, hash.sh_size as usize));
        // buckets, first symbol in the table; bloom words, shift
        self.words.push((
            at,
            1 | (section(elf, ".dynsym")?.sh_size / SYMBOL as u64) << 32,
        ));
        self.words.push((at + 8, 1));
        Ok(())
    }

    /// ELF header, program headers and dynamic section.
    fn headers(&mut self, elf: &Elf, kept: usize) {
        self.words.push((24, elf.entry + self.base));
        for (i, header) in elf
            .program_headers
            .iter()
            .enumerate()
            .filter(|(_, h)| h.p_type != PT_GNU_STACK)
        {
            let at = elf.header.e_phoff as usize + i * usize::from(elf.header.e_phentsize);
            self.words.push((at + 16, header.p_vaddr + self.base));
            self.words.push((at + 24, header.p_paddr + self.base));
        }
        const POINTERS: [u64; 14] = [
            DT_PLTGOT,
            DT_STRTAB,
            DT_SYMTAB,
            DT_RELA,
            DT_INIT,
            DT_FINI,
            DT_JMPREL,
            DT_INIT_ARRAY,
            DT_FINI_ARRAY,
            DT_PREINIT_ARRAY,
            DT_GNU_HASH,
            DT_VERSYM,
            DT_VERDEF,
            DT_VERNEED,
        ];
        let Some(dynamic) = &elf.dynamic else { return };
        let start = elf
            .program_headers
            .iter()
            .find(|h| h.p_type == goblin::elf::program_header::PT_DYNAMIC);
        let start = start.map_or(0, |h| h.p_offset as usize);
        let left = kept * RELA;
        for (i, entry) in dynamic.dyns.iter().enumerate() {
            let value = match entry.d_tag {
                DT_RELASZ => left as u64,
                DT_RELACOUNT => 0,
                DT_FLAGS_1 => entry.d_val & !DF_1_PIE,
                pointer if POINTERS.contains(&pointer) => entry.d_val + self.base,
                _ => continue,
            };
            self.words.push((start + i * 16 + 8, value));
        }
    }

    /// Section headers: nothing reads them at run time, but tools do.
    fn sections(&mut self, bytes: &[u8], moved: &[usize]) {
        let (table, size) = (
            word(bytes, 40) as usize,
            usize::from(u16::from_le_bytes([bytes[58], bytes[59]])),
        );
        for i in moved {
            self.move_word(bytes, table + i * size + 16);
        }
    }

    fn move_word(&mut self, bytes: &[u8], at: usize) {
        let value = word(bytes, at);
        if value != 0 {
            self.words.push((at, value + self.base));
        }
    }

    fn apply(self, bytes: &mut [u8]) -> std::result::Result<(), String> {
        let end = self
            .words
            .iter()
            .map(|(at, _)| at + 8)
            .chain(self.holes.iter().map(|(at, n)| at + n))
            .max();
        if end.is_some_and(|end| end > bytes.len()) {
            return Err("has tables that reach past its end".into());
        }
        for (at, length) in self.holes {
            bytes[at..at + length].fill(0);
        }
        for (at, value) in self.words {
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        bytes[16..18].copy_from_slice(&ET_EXEC.to_le_bytes());
        Ok(())
    }
}

/// All dynamic symbols. Their number comes from the section header: the hash table, from which it is usually guessed, omits imports.
fn imports_and_exports<'a>(elf: &Elf, bytes: &'a [u8]) -> std::result::Result<Symtab<'a>, String> {
    let section = section(elf, ".dynsym")?;
    let count = section.sh_size as usize / SYMBOL;
    Symtab::parse(bytes, section.sh_offset as usize, count, Ctx::default())
        .map_err(|e| e.to_string())
}

fn section<'a>(elf: &'a Elf, name: &str) -> std::result::Result<&'a SectionHeader, String> {
    let found = elf
        .section_headers
        .iter()
        .find(|s| elf.shdr_strtab.get_at(s.sh_name) == Some(name));
    found.ok_or_else(|| format!("has no section {name}"))
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

fn tag(elf: &Elf, tag: u64) -> std::result::Result<u64, String> {
    let dynamic = elf.dynamic.as_ref().ok_or("has no dynamic section")?;
    let entry = dynamic.dyns.iter().find(|d| d.d_tag == tag);
    entry
        .map(|d| d.d_val)
        .ok_or_else(|| format!("has no dynamic entry {tag}"))
}

/// File offset of a virtual address.
fn place(elf: &Elf, address: u64) -> std::result::Result<usize, String> {
    let inside = |h: &&goblin::elf::ProgramHeader| {
        h.p_type == PT_LOAD && (h.p_vaddr..h.p_vaddr + h.p_filesz).contains(&address)
    };
    let header = elf.program_headers.iter().find(inside);
    header
        .map(|h| (address - h.p_vaddr + h.p_offset) as usize)
        .ok_or_else(|| format!("address {address:#x} is not in the file"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    /// A C program with what matters: pointers in data, imported functions and data, thread-local storage, exported symbols.
    const SOURCE: &str = r#"
        #include <stdio.h>
        #include <stdlib.h>
        static const char *const words[] = {"one", "two", "three"};
        const char *const *exported = words;
        __thread int local = 4;
        int twice(int n) { return 2 * n; }
        int (*const function)(int) = twice;
        int main(int argc, char **argv) {
            printf("%s %d %d %s\n", exported[argc], function(21), local, getenv("WORD"));
            return 7;
        }"#;

    fn compile(dir: &Path) -> PathBuf {
        let (source, program) = (dir.join("p.c"), dir.join("p"));
        fs::write(&source, SOURCE).unwrap();
        let flags = [
            "-O1",
            "-fPIE",
            "-pie",
            "-rdynamic",
            "-Wl,--hash-style=gnu",
            "-o",
        ];
        assert!(
            Command::new("gcc")
                .args(flags)
                .arg(&program)
                .arg(&source)
                .status()
                .unwrap()
                .success()
        );
        program
    }

    #[test]
    fn the_program_does_the_same_at_a_fixed_address() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = fs::read(compile(dir.path())).unwrap();
        let position_independent = bytes.clone();
        fix(&mut bytes).unwrap();
        assert_eq!(bytes.len(), position_independent.len());
        let fixed = dir.path().join("fixed");
        fs::write(&fixed, &bytes).unwrap();
        fs::set_permissions(&fixed, fs::Permissions::from_mode(0o755)).unwrap();
        let out = Command::new(&fixed)
            .arg("x")
            .env("WORD", "w")
            .output()
            .unwrap();
        assert_eq!(
            (
                String::from_utf8_lossy(&out.stdout).as_ref(),
                out.status.code()
            ),
            ("three 42 4 w\n", Some(7))
        );
        let elf = Elf::parse(&bytes).unwrap();
        assert_eq!(elf.header.e_type, ET_EXEC);
        assert!(elf.dynrelas.iter().all(|r| r.r_type != R_X86_64_RELATIVE));
        assert!(
            elf.dynsyms
                .iter()
                .all(|s| elf.dynstrtab.get_at(s.st_name) != Some("twice"))
        );
    }

    #[test]
    fn doing_it_twice_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = fs::read(compile(dir.path())).unwrap();
        fix(&mut bytes).unwrap();
        let once = bytes.clone();
        fix(&mut bytes).unwrap();
        assert!(bytes == once);
    }

    #[test]
    fn a_library_is_refused() {
        assert_eq!(
            fix(&mut fs::read("/lib/x86_64-linux-gnu/libm.so.6").unwrap()).unwrap_err(),
            "is not a dynamically linked program"
        );
    }
}
