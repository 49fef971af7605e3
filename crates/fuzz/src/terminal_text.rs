//! Text from elsewhere, for logs and terminals.

use nixfleet_os::text::{log_line, one_line, printable, shorten};

/// A limit that inputs reach, in characters.
const LIMIT: usize = 40;

/// Longest parameters of a colour, in bytes.
const MAX_PARAMETERS: usize = 64;

/// Ends all colours.
const RESET: &str = "\x1b[0m";

/// The end of a text that was cut.
const MARK: char = '…';

/// No control character is left but those that were asked for; the result is within its bound; cleaning it again
/// changes nothing. Nothing but that is left out: text without sequences keeps all other characters, in their order.
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
    shortened(&text);
    let plain = printable(&text, false);
    if !text.contains(['\u{1b}', '\u{90}', '\u{98}', '\u{9b}', '\u{9d}', '\u{9e}', '\u{9f}']) {
        let kept: String = text.chars().filter(|c| *c == '\t' || !unsafe_in_line(*c)).collect();
        assert_eq!(plain, kept);
        words(&text);
    }
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

/// A cut text is the longest beginning that has room for the mark, without blanks at its end.
fn shortened(text: &str) {
    let count = text.chars().count();
    for limit in [1, LIMIT, count.saturating_sub(1).max(1), count.max(1)] {
        let mut short = text.to_owned();
        shorten(&mut short, limit);
        let kept: String = text.chars().take(limit - 1).collect();
        let wanted = if count <= limit { text.to_owned() } else { format!("{}{MARK}", kept.trim_end()) };
        assert_eq!(short, wanted, "{limit} characters of {text:?}");
    }
}

/// Words of text without sequences become one line of the same words, and of a line that has no room the beginning.
fn words(text: &str) {
    let words: Vec<String> = text
        .split_whitespace()
        .map(|word| word.chars().filter(|letter| !unsafe_in_line(*letter)).collect::<String>())
        .filter(|word| !word.is_empty())
        .collect();
    let whole = words.join(" ");
    let (count, given) = (whole.chars().count(), text.chars().count());
    assert_eq!(one_line(text, given.max(1)), whole);
    let short = one_line(text, LIMIT);
    let begins = short.strip_suffix(MARK).unwrap_or(&short);
    assert!(whole.starts_with(begins), "{short:?} of {whole:?}");
    // Room that is left has a reason: a word of one letter and its blank, or text far behind the limit.
    assert!(
        short == whole || count > LIMIT - 2 && short.chars().count() >= LIMIT - 1 || given > 2 * LIMIT,
        "{short:?}"
    );
    let logged = log_line(text, LIMIT, false);
    if given <= LIMIT {
        let blanks: String = text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).collect();
        assert_eq!(logged, blanks.chars().filter(|c| !unsafe_in_line(*c)).collect::<String>());
    } else {
        assert!(logged.ends_with(MARK), "{logged:?}");
    }
}

/// Controls, and what changes the direction of text or begins a line.
pub(crate) fn unsafe_in_line(letter: char) -> bool {
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
        assert!(parameters.len() <= MAX_PARAMETERS, "{part:?}");
        assert!(
            parameters.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b';' | b':')),
            "{part:?}"
        );
        assert!(!rest.contains(|c| c != '\t' && unsafe_in_line(c)), "{part:?}");
        last = part;
    }
    assert!(last.is_empty() || last == "[0m", "colours go on: {painted:?}");
}
