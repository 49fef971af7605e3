//! What git says while it runs: its progress, names that cannot be resolved, damaged objects.

use nixfleet_jobs::supervisor::fuzzing;

/// Longest detail, in bytes: a title, a number of 20 digits, and 200 characters of what was transferred.
const MAX_DETAIL: usize = 40 + 20 + 4 * 200 + 16;

/// Longest quotation, in characters.
const MAX_QUOTED: usize = 200;

/// Output in chunks that end with 0xff. A line without a digit, or without a colon, is shown as it is. A percentage is
/// one, and what is quoted of git is a part of what it wrote, with a bound.
pub fn git_words(data: &[u8]) {
    let shown = fuzzing::git(data.split_inclusive(|byte| *byte == 0xff));
    for detail in &shown.details {
        assert!(detail.len() <= MAX_DETAIL, "{detail}");
        if let Some((before, _)) = detail.split_once('%') {
            let number = before.rsplit(' ').next().and_then(|number| number.parse::<u32>().ok());
            assert!(number.is_some_and(|number| number <= 100), "{detail}");
        }
    }
    let all = String::from_utf8_lossy(data);
    let mut left = shown.lines.iter();
    // Of a line that is rewritten, only the last state counts.
    let written = all.split('\n').filter(|line| !line.contains('\r') && line.len() < 1024);
    for line in written.filter(|line| !line.is_empty()) {
        if !line.contains(|letter: char| letter.is_ascii_digit()) || !line.contains(':') {
            assert!(left.any(|text| text == line), "{line:?} is not in {:?}", shown.lines);
        }
    }
    for quoted in shown.unresolved.iter().chain(&shown.damage) {
        assert!(quoted.chars().count() <= MAX_QUOTED && !quoted.is_empty(), "{quoted}");
        assert!(all.contains(quoted.as_str()), "{quoted} is not in {all}");
    }
    assert!(shown.unresolved.is_none_or(|name| !name.contains(char::is_whitespace)));
}
