//! Text from elsewhere, for logs and terminals.

use nixfleet_os::text::{log_line, one_line, printable};

/// A limit that inputs reach, in characters.
const LIMIT: usize = 40;

/// Ends all colours.
const RESET: &str = "\x1b[0m";

/// No control character is left but those that were asked for; the result is within its bound; cleaning it again
/// changes nothing.
pub fn terminal_text(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for limit in [0, 1, LIMIT] {
        let line = one_line(&text, limit);
        assert!(!line.contains(unsafe_in_line) && line.trim() == line, "{line:?}");
        // Of a text that was cut, the mark remains.
        assert!(line.chars().count() <= limit.max(1), "{line:?} with {limit}");
        assert_eq!(one_line(&line, limit.max(1)), line);
        let logged = log_line(&text, limit, false);
        assert!(!logged.contains(|letter| letter != '\t' && unsafe_in_line(letter)), "{logged:?}");
        assert!(logged.chars().count() <= limit.max(1), "{logged:?} with {limit}");
    }
    let plain = printable(&text, false);
    assert!(!plain.contains(|letter| letter != '\t' && unsafe_in_line(letter)), "{plain:?}");
    assert!(plain.len() <= text.len());
    assert_eq!(printable(&plain, false), plain);
    let painted = printable(&text, true);
    assert!(painted.len() <= text.len() + RESET.len());
    without_colours(&painted);
    assert_eq!(printable(&painted, false), plain, "colours change the text");
    let again = printable(&painted, true);
    assert!(again == painted || again.strip_suffix(RESET) == Some(&painted), "{again:?} of {painted:?}");
}

/// Controls, and what changes the direction of text or begins a line.
fn unsafe_in_line(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// Each escape sets colours, and the last one ends all of them.
fn without_colours(painted: &str) {
    let mut parts = painted.split('\x1b');
    let mut last = "";
    assert!(parts.next().is_some_and(|before| !before.contains(|c| c != '\t' && unsafe_in_line(c))));
    for part in parts {
        let colour = part.strip_prefix('[').and_then(|part| part.split_once('m'));
        let (parameters, rest) = colour.unwrap_or_else(|| panic!("no colour: {part:?}"));
        assert!(
            parameters.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b';' | b':')),
            "{part:?}"
        );
        assert!(!rest.contains(|c| c != '\t' && unsafe_in_line(c)), "{part:?}");
        last = part;
    }
    assert!(last.is_empty() || last == "[0m", "colours go on: {painted:?}");
}
