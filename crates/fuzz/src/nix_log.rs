//! The output of a rebuild: nix's log in JSON, phases, the line that explains a failure.

use nixfleet_jobs::lines::{Lines, MAX_LINE_BYTES, Piece};
use nixfleet_jobs::supervisor::fuzzing;
use nixfleet_os::text::printable;
use serde_json::Value;

/// Bytes that are added to a line at most: the name of a build before each of its lines, which is 640 bytes long at
/// most, or what introduces the last lines of its log.
const ADDED: usize = 700;

/// Longest name of a build in front of a line of its log, in bytes, and the word behind it for a hook.
const MAX_NAME: usize = 640 + " (post)".len();

/// Longest detail of a phase, in bytes: two numbers of 20 digits and a unit, two names of 64 characters, and the words
/// around them.
const MAX_DETAIL: usize = 64 + 2 * 4 * 64 + 80;

/// Longest explanation, in characters: a heading with its list.
const MAX_REASON: usize = 600;

/// Output in chunks that end with 0xff, on two streams in turn; the first byte says whether build logs are shown
/// live. What is shown is hardly longer than what was written, in pieces that fit into an entry of a log. Lines that
/// are not nix's log in JSON are shown as they are, and so are nix's messages.
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
    for errors in [false, true] {
        let chunks = output.split_inclusive(|byte| *byte == 0xff).skip(usize::from(errors)).step_by(2);
        let mut pieces = shown.pieces.iter();
        for wanted in written(chunks) {
            assert!(pieces.any(|(text, _)| *text == wanted), "{wanted:?} is not in {:?}", shown.pieces);
        }
    }
    // What stands before a line of a build is not longer than its bound, if it is not a part of the output itself.
    let is_simple = !output.contains(&b'\\');
    for (name, _) in shown.pieces.iter().filter_map(|(text, _)| text.split_once("> ")) {
        let is_long = name.len() > MAX_NAME && is_simple && !name.contains('\u{fffd}');
        let quoted = format!("{name}> ");
        assert!(!is_long || output.windows(quoted.len()).any(|part| part == quoted.as_bytes()), "{name:?}");
    }
    // The reason is made of parts of the output. A mark separates them, another one shows that something was cut.
    let all: String = shown.pieces.iter().map(|(text, _)| format!("{}\n", printable(text, false))).collect();
    let mut quoted = shown.reason.split(' ').map(|word| word.trim_end_matches(['…', ';']));
    assert!(quoted.all(|word| all.contains(word)), "{} of {all}", shown.reason);
    assert!(!shown.reason.contains(char::is_control), "{:?}", shown.reason);
}

/// The lines of one stream that are certainly shown, in their order.
fn written<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    let mut take = |piece: Piece<'_>| {
        let is_whole = !inside && !piece.cont;
        inside = piece.cont;
        if is_whole {
            found.extend(certain(&piece.text));
        }
    };
    let mut lines = Lines::default();
    chunks.for_each(|chunk| lines.push(chunk, &mut take));
    lines.finish(&mut take);
    found
}

/// What is shown of a line, as far as a second reading can tell.
fn certain(line: &str) -> Option<String> {
    let Some(json) = line.strip_prefix("@nix ") else { return Some(line.to_owned()) };
    let Ok(event) = serde_json::from_str::<Value>(json) else { return Some(line.to_owned()) };
    let message = event.get("msg").filter(|_| event.get("action") == Some(&Value::from("msg")))?.as_str()?;
    // A field of a wrong type, or one that is there twice, makes the line no event.
    let is_usual = event.as_object()?.keys().all(|name| matches!(name.as_str(), "action" | "msg" | "level"))
        && event.get("level").is_none_or(Value::is_u64)
        && json.matches("\":").count() == event.as_object()?.len();
    let is_plain =
        !message.is_empty() && !message.contains(['\n', '\r', '\u{1b}', '"']) && message.len() < 4096;
    (is_usual && is_plain).then(|| message.to_owned())
}
