//! The output of a rebuild: nix's log in JSON, phases, the line that explains a failure.

use nixfleet_jobs::lines::MAX_LINE_BYTES;
use nixfleet_jobs::supervisor::fuzzing;

/// Bytes that are added to a line at most: the name of a build before each of its lines.
const ADDED: usize = 1024;

/// Longest detail of a phase, in bytes: two numbers of 20 digits, and a unit.
const MAX_DETAIL: usize = 64;

/// Longest explanation, in characters: a sentence of ssh with its cause.
const MAX_REASON: usize = 601;

/// Output in chunks that end with 0xff, on two streams in turn; the first byte says whether build logs are shown
/// live. What is shown is hardly longer than what was written, in pieces that fit into an entry of a log.
pub fn nix_log(data: &[u8]) {
    let Some((live, output)) = data.split_first() else { return };
    let chunks = output.split_inclusive(|byte| *byte == 0xff).enumerate();
    let shown = fuzzing::rebuild(live & 1 == 1, chunks.map(|(index, chunk)| (index % 2 == 1, chunk)));
    let lines = 2 + output.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
    let length: usize = shown.pieces.iter().map(|(text, _)| text.len()).sum();
    // A byte that is no UTF-8 becomes three.
    assert!(length <= 3 * output.len() + ADDED * lines, "{length} bytes of {}", output.len());
    assert!(shown.pieces.iter().all(|(text, _)| text.len() <= 3 * MAX_LINE_BYTES));
    assert!(shown.pieces.iter().all(|(text, _)| !text.contains(['\n', '\r'])), "{:?}", shown.pieces);
    assert!(shown.longest_detail <= MAX_DETAIL);
    assert!(shown.reason.chars().count() <= MAX_REASON, "{}", shown.reason);
}
