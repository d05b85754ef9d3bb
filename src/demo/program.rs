//! The program's own file and what it needs to run elsewhere: its loader and its shared libraries.
//!
//! In: the executable's path and the text of `/proc/self/maps`. Out: [`Program`]. Guaranteed: only what the kernel loads is
//! kept (debug information is left behind, which makes a debug build a quarter as large); each library under the name that
//! others ask for it by. Must not: run anything, `ldd` included.

use std::io;
use std::path::{Path, PathBuf};

/// A file of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramFile {
    /// Its path in the image, without a slash in front.
    pub path: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// An executable with everything that it loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The executable first, then the loader and the libraries.
    pub files: Vec<ProgramFile>,
}

/// Where the executable lies in the image.
pub const EXECUTABLE: &str = "driftless";

/// Where the libraries lie in the image; the images set `LD_LIBRARY_PATH` to it.
pub const LIBRARIES: &str = "lib";

/// Libraries that an older C library loads by itself to resolve names; newer ones hold them inside.
const NAME_SERVICES: &[&str] = &["libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2"];

impl Program {
    /// Reads the program that runs from `executable` with `maps` mapped.
    pub fn read(executable: &Path, maps: &str) -> io::Result<Self> {
        let whole = std::fs::read(executable)?;
        let elf = Elf::parse(&whole).ok_or_else(|| {
            io::Error::other(format!("{} is not a 64-bit ELF program", executable.display()))
        })?;
        let mut files = vec![ProgramFile {
            path: EXECUTABLE.to_owned(),
            bytes: elf.loaded(),
        }];
        // Without a loader it is a static program, and complete.
        let Some(loader) = elf.interpreter() else {
            return Ok(Self { files });
        };
        files.push(ProgramFile {
            path: loader.trim_start_matches('/').to_owned(),
            bytes: std::fs::read(loader)?,
        });
        let executable = executable.canonicalize()?;
        for path in mapped_files(maps).into_iter().filter(|path| *path != executable) {
            // A mapped file that is no library (a locale archive, a database) is nothing to take along.
            let Ok(bytes) = std::fs::read(&path) else { continue };
            let Some(name) = Elf::parse(&bytes).and_then(|elf| elf.soname()) else {
                continue;
            };
            if name.starts_with("libc.so") {
                for service in NAME_SERVICES {
                    if let Ok(bytes) = std::fs::read(path.with_file_name(service)) {
                        add(&mut files, service, bytes);
                    }
                }
            }
            add(&mut files, &name, bytes);
        }
        Ok(Self { files })
    }
}

fn add(files: &mut Vec<ProgramFile>, name: &str, bytes: Vec<u8>) {
    let path = format!("{LIBRARIES}/{name}");
    if files.iter().all(|file| file.path != path) {
        files.push(ProgramFile { path, bytes });
    }
}

/// The files of `/proc/PID/maps`, each once, in their order.
fn mapped_files(maps: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in maps.lines() {
        // address perms offset dev inode path; the path may hold spaces, the fields before it don't.
        let Some(start) = line.find(" /") else { continue };
        let path = PathBuf::from(&line[start + 1..]);
        if !found.contains(&path) {
            found.push(path);
        }
    }
    found
}

/// As much of a 64-bit little-endian ELF file as is needed here. Every read is checked: the file may be anything.
struct Elf<'a> {
    bytes: &'a [u8],
    segments: Vec<Segment>,
}

struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;
const INTERPRETER: u32 = 3;
const STRING_TABLE: u64 = 5;
const SONAME: u64 = 14;

fn number<const N: usize>(bytes: &[u8], at: u64) -> Option<[u8; N]> {
    let at = usize::try_from(at).ok()?;
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u16_at(bytes: &[u8], at: u64) -> Option<u64> {
    number(bytes, at).map(u16::from_le_bytes).map(u64::from)
}

fn u32_at(bytes: &[u8], at: u64) -> Option<u32> {
    number(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: u64) -> Option<u64> {
    number(bytes, at).map(u64::from_le_bytes)
}

impl<'a> Elf<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        // The magic, 64 bits, little-endian.
        if bytes.get(..6)? != [0x7f, b'E', b'L', b'F', 2, 1] {
            return None;
        }
        let (table, size, count) = (u64_at(bytes, 32)?, u16_at(bytes, 54)?, u16_at(bytes, 56)?);
        let mut segments = Vec::new();
        for index in 0..count {
            let at = table.checked_add(index * size)?;
            segments.push(Segment {
                kind: u32_at(bytes, at)?,
                offset: u64_at(bytes, at + 8)?,
                address: u64_at(bytes, at + 16)?,
                size: u64_at(bytes, at + 32)?,
            });
        }
        Some(Self { bytes, segments })
    }

    fn segment(&self, kind: u32) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.kind == kind)
    }

    fn text(&self, at: u64) -> Option<&'a str> {
        let rest = self.bytes.get(usize::try_from(at).ok()?..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        std::str::from_utf8(&rest[..end]).ok()
    }

    /// The loader that it asks the kernel for.
    fn interpreter(&self) -> Option<&'a str> {
        self.text(self.segment(INTERPRETER)?.offset)
            .filter(|path| path.starts_with('/'))
    }

    /// The name that others ask for it by.
    fn soname(&self) -> Option<String> {
        let dynamic = self.segment(DYNAMIC)?;
        let (mut table, mut name) = (None, None);
        for index in 0..dynamic.size / 16 {
            let at = dynamic.offset.checked_add(index * 16)?;
            match u64_at(self.bytes, at)? {
                0 => break,
                STRING_TABLE => table = u64_at(self.bytes, at + 8),
                SONAME => name = u64_at(self.bytes, at + 8),
                _ => {}
            }
        }
        let name = self.text(self.offset_of(table?)?.checked_add(name?)?)?;
        // It becomes a path of the image.
        (!name.is_empty() && !name.contains('/')).then(|| name.to_owned())
    }

    /// Where in the file the byte at `address` in memory is.
    fn offset_of(&self, address: u64) -> Option<u64> {
        let holds = |segment: &&Segment| {
            segment.kind == LOAD
                && address
                    .checked_sub(segment.address)
                    .is_some_and(|within| within < segment.size)
        };
        let segment = self.segments.iter().find(holds)?;
        Some(address - segment.address + segment.offset)
    }

    /// The file up to the end of what is loaded, without its table of sections (which lies behind that end).
    fn loaded(&self) -> Vec<u8> {
        let end = self
            .segments
            .iter()
            .map(|segment| segment.offset.saturating_add(segment.size))
            .max();
        let end = end
            .and_then(|end| usize::try_from(end).ok())
            .unwrap_or(usize::MAX)
            .min(self.bytes.len());
        let mut kept = self.bytes[..end].to_vec();
        if let Some(section_table) = kept.get_mut(40..48) {
            section_table.fill(0);
        }
        if let Some(section_count_and_names) = kept.get_mut(60..64) {
            section_count_and_names.fill(0);
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_is_read_with_all_that_it_loads() {
        let executable = std::fs::read_link("/proc/self/exe").unwrap();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let program = Program::read(&executable, &maps).unwrap();
        assert_eq!(program.files[0].path, EXECUTABLE);
        let names: Vec<&str> = program.files.iter().map(|file| file.path.as_str()).collect();
        if cfg!(target_env = "gnu") {
            assert!(names.contains(&"lib/libc.so.6"), "{names:?}");
            assert!(names[1].contains("ld-linux"), "{names:?}");
        }
        assert!(program.files[0].bytes.len() as u64 <= std::fs::metadata(&executable).unwrap().len());
        assert!(Elf::parse(&program.files[0].bytes).is_some());
    }

    #[test]
    fn what_is_kept_still_runs() {
        let executable = Path::new("/proc/self/exe").canonicalize().unwrap();
        let program = Program::read(&executable, "").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("copy");
        std::fs::write(&copy, &program.files[0].bytes).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&copy, mode).unwrap();
        // The test program itself, asked for a list that is empty.
        let ran = std::process::Command::new(&copy)
            .args(["--list", "no such test"])
            .output()
            .unwrap();
        assert!(ran.status.success(), "{ran:?}");
    }

    #[test]
    fn any_bytes_are_read_without_a_panic() {
        let whole = std::fs::read("/proc/self/exe").unwrap();
        for length in (0..1024).chain([4096, 65536]) {
            let cut = &whole[..length.min(whole.len())];
            if let Some(elf) = Elf::parse(cut) {
                let _ = (elf.interpreter(), elf.soname(), elf.loaded());
            }
        }
        let mut wild = whole[..4096].to_vec();
        wild[32..40].fill(0xff);
        assert!(Elf::parse(&wild).is_none());
        assert!(Elf::parse(b"#!/bin/sh\n").is_none());
    }

    #[test]
    fn a_map_lists_each_file_once() {
        let maps = "55 r--p 00 fe:00 1   /opt/my program\n56 r-xp 00 fe:00 1   /opt/my program\n7f rw-p 0 0:0 0 \n7f r--p 0 fe:0 2 /lib/libc.so.6\nff r-xp 0 0:0 0 [vdso]\n";
        assert_eq!(
            mapped_files(maps),
            [PathBuf::from("/opt/my program"), PathBuf::from("/lib/libc.so.6")]
        );
    }
}
