//! The output of a rebuild: what it says about checks, units and room.

use nixfleet_jobs::supervisor::switch_fuzzing;

/// Most entries of a list.
const MAX_NAMES: usize = 64;

/// Longest text that is kept, in characters.
const MAX_TEXT: usize = 300;

/// Longest name of a unit, in bytes.
const MAX_UNIT: usize = 255;

/// Output of a rebuild; the first byte says whether each line is one of a build, which says nothing. Names of units
/// are parts of the output that `systemctl` takes for one unit each, and for no option; texts are bounded printable
/// lines; lists are bounded.
pub fn switch_lines(data: &[u8]) {
    let Some((of_a_build, output)) = data.split_first() else { return };
    if of_a_build & 1 == 1 {
        let lines = output.split(|byte| matches!(byte, b'\n' | b'\r'));
        let written: Vec<u8> = lines.flat_map(|line| [b"web-1.0> ", line, b"\n"].concat()).collect();
        let kept = switch_fuzzing::keep(&written);
        assert!(kept.is_silent, "{kept:?}");
    }
    let kept = switch_fuzzing::keep(output);
    let all = String::from_utf8_lossy(output);
    assert!(kept.longest_list <= MAX_NAMES, "{kept:?}");
    for unit in &kept.units {
        let is_part = all.contains(&**unit);
        let is_one = !unit.contains([' ', '\t', '*', '?', '[', '/', ',']) && !unit.starts_with('-');
        assert!(is_part && is_one && unit.len() <= MAX_UNIT && unit.is_ascii(), "{unit:?}");
    }
    for text in &kept.texts {
        assert!(text.chars().count() <= MAX_TEXT, "{text}");
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
}
