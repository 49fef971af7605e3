//! The sections of a program: ELF of 64 bits, little-endian, as of all Linux hosts that the agent supports.

use std::collections::BTreeMap;

/// Bytes in the file, by the name of the section.
pub(super) type Sections = BTreeMap<String, u64>;

/// What such a file begins with: the mark of ELF, 64 bits, little-endian.
const MAGIC: &[u8] = b"\x7fELF\x02\x01";

/// The type of a section that has no bytes in the file, such as `.bss`.
const NO_BITS: u64 = 8;

/// The sections; none of a file in another format, such as a program for macOS.
pub(super) fn sections(file: &[u8]) -> Sections {
    read(file).unwrap_or_default()
}

fn read(file: &[u8]) -> Option<Sections> {
    file.starts_with(MAGIC).then_some(())?;
    // Offsets of elf(5): e_shoff, e_shentsize, e_shnum, e_shstrndx.
    let (table, entry) = (number(file, 0x28, 8)?, number(file, 0x3a, 2)?);
    let (count, names) = (number(file, 0x3c, 2)?, number(file, 0x3e, 2)?);
    let header = |index: u64| table.checked_add(index.checked_mul(entry)?);
    // sh_offset of the section with the names.
    let names = number(file, header(names)?.checked_add(0x18)?, 8)?;
    let mut sections = Sections::new();
    for index in 0..count {
        let header = header(index)?;
        let name = name(file, names.checked_add(number(file, header, 4)?)?)?;
        // sh_type and sh_size.
        let (kind, size) =
            (number(file, header.checked_add(4)?, 4)?, number(file, header.checked_add(0x20)?, 8)?);
        if kind != NO_BITS && size > 0 {
            *sections.entry(name).or_default() += size;
        }
    }
    Some(sections)
}

fn number(file: &[u8], at: u64, length: usize) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    let bytes = file.get(at..at.checked_add(length)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn name(file: &[u8], at: u64) -> Option<String> {
    let rest = file.get(usize::try_from(at).ok()?..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    Some(String::from_utf8_lossy(rest.get(..end)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_have_no_sections_and_cause_no_panic() {
        for other in [&b""[..], b"\x7fELF", b"#!/bin/sh\n", b"\xcf\xfa\xed\xfe"] {
            assert_eq!(sections(other), Sections::new());
        }
        // Offsets that are beyond the end, and beyond all numbers.
        for byte in [0x01, 0xff] {
            let mut cut = MAGIC.to_vec();
            cut.resize(0x40, byte);
            assert_eq!(sections(&cut), Sections::new());
        }
    }

    #[cfg(all(target_os = "linux", target_pointer_width = "64", target_endian = "little"))]
    #[test]
    fn this_program_has_code() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let found = sections(&own);
        assert!(found[".text"] > 10_000 && found[".text"] < own.len() as u64, "{found:?}");
        assert!(!found.contains_key(".bss"), "{found:?}");
    }
}
