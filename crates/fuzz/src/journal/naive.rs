//! A second reader of a log, which reads whole files and knows nothing of rotation or of writes in progress.

use std::fs;

use nixfleet_jobs::JobDir;
use nixfleet_jobs::journal::Entry;

/// Longest line that is sure to be read, in bytes.
const MAX_SURE: usize = 256 * 1024;

/// The entries at the beginning of a log up to the first one that is not a plain one: the next position, and the next
/// number in a log that has numbers. Nothing is missing before them.
pub(super) fn beginning(dir: &JobDir, segments: u8) -> Vec<Entry> {
    let mut found: Vec<Entry> = Vec::new();
    let mut lines = 0;
    for segment in 0..segments {
        let Ok(bytes) = fs::read(dir.log(segment.into())) else { return found };
        // What has no line end is no line yet.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for line in bytes.get(..whole).unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
            let Ok(entry) = serde_json::from_slice::<Entry>(line) else { return found };
            let is_next = entry.seq == found.len() as u64 + 1 && entry.unwritten.is_none();
            lines += u64::from(entry.is_text());
            let numbered =
                found.iter().find(|before| before.is_text()).unwrap_or(&entry).line_number.is_some();
            let is_numbered = !entry.is_text() || entry.line_number == numbered.then_some(lines);
            if !is_next || !is_numbered || line.len() > MAX_SURE {
                return found;
            }
            found.push(entry);
        }
        if whole < bytes.len() {
            return found;
        }
    }
    found
}
