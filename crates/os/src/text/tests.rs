use proptest::prelude::*;

use super::*;

#[test]
fn colours_stay_and_what_harms_goes() {
    for (text, wanted) in [
        ("plain\ttext, \u{fc}", "plain\ttext, \u{fc}"),
        ("\x1b[31merror\x1b[0m", "\x1b[31merror\x1b[0m\x1b[0m"),
        ("\x1b[1;38;2;1;2;3mx", "\x1b[1;38;2;1;2;3mx\x1b[0m"),
        ("\x1b[38:5:9mx", "\x1b[38:5:9mx\x1b[0m"),
        ("a\x1b[2J\x1b[Hb\x1b[10;20Hc\x1b[?1049hd", "abcd"),
        ("\x1b[>4;2mx", "x"),
        ("\x1b[1 mx", "x"),
        ("\x1b]0;title\x07a\x1b]8;;http://x\x1b\\b\x1b]52;c;QQ\u{9c}c", "abc"),
        ("\x1bP+q544e\x1b\\a\x1b_x\x1b\\b\x1b^y\x1b\\c\x1bXz\x1b\\d", "abcd"),
        ("\u{9b}2Ja\u{9b}31mb\u{9d}0;t\u{9c}c", "a\x1b[31mbc\x1b[0m"),
        ("a\x1bcb\x1b(0c\x1b#8d\x1b", "abcd"),
        ("a\rb\x08c\x07d\x7fe\x0ef\0g", "abcdefg"),
        ("a\u{202e}b\u{2066}c", "abc"),
        ("a\x1b]0;never ends", "a"),
        ("a\x1b[31", "a"),
        ("a\x1b]x\x1b[31mb", "a\x1b[31mb\x1b[0m"),
        ("a\x1b[3\u{fc}b", "a\u{fc}b"),
    ] {
        assert_eq!(printable(text, true), wanted, "{text:?}");
    }
    assert_eq!(printable("\x1b[31merror\x1b[0m", false), "error");
    let long = format!("\x1b[{}mx", "1;".repeat(MAX_PARAMETERS));
    assert_eq!(printable(&long, true), "x");
}

#[test]
fn one_line_is_one_line_and_bounded() {
    for (text, limit, wanted) in [
        ("plain text, \u{fc}", 40, "plain text, \u{fc}"),
        ("gone\nWATCHDOG=trigger\r\nREADY=1", 40, "gone WATCHDOG=trigger READY=1"),
        ("  a \t\u{85} b\u{2028}c\0\n", 40, "a b c"),
        ("\x1b[31mred\x1b[0m \x1b]0;title\x07\u{9b}2J!", 40, "red !"),
        ("\u{202e}gnp.exe\u{2066}\u{61c}", 40, "gnp.exe"),
        ("12345", 5, "12345"),
        ("123456", 5, "1234…"),
        ("1234 56", 5, "1234…"),
        ("123 456", 5, "123…"),
        ("\u{1f600}\u{1f600}\u{1f600}", 2, "\u{1f600}…"),
        ("", 5, ""),
    ] {
        assert_eq!(one_line(text, limit), wanted, "{text:?}");
    }
    let endless = "\u{1f600}\n".repeat(1_000_000);
    assert_eq!(one_line(&endless, 200).chars().count(), 200);
}

#[test]
fn a_line_of_the_log_keeps_its_columns_and_its_own_colours() {
    assert_eq!(log_line("  INFO x: a\n  b\x07", 40, false), "  INFO x: a   b");
    assert_eq!(log_line("\x1b[2mtime\x1b[0m\nx", 40, true), "\x1b[2mtime\x1b[0m x\x1b[0m");
    assert_eq!(log_line("123456", 5, false), "1234…");
}

/// Whether all escape sequences in the text set colours.
fn is_safe(text: &str) -> bool {
    let mut pieces = text.split('\x1b');
    let clean = |text: &str| text.chars().all(|c| c == '\t' || !c.is_control());
    pieces.next().is_none_or(clean)
        && pieces.all(|piece| {
            let Some((given, rest)) = piece.strip_prefix('[').and_then(|rest| rest.split_once('m')) else {
                return false;
            };
            given.bytes().all(|b| b.is_ascii_digit() || b == b';' || b == b':') && clean(rest)
        })
}

proptest! {
    #[test]
    fn whatever_is_written_no_other_control_reaches_the_terminal(
        text in "([a-z0-9;:?m\\[\\]P\\\\ (]|\x1b|\x07|\r|\u{9b}|\u{9c}|\u{9d}|\u{90}|\u{fc}){0,40}"
    ) {
        prop_assert!(is_safe(&printable(&text, true)), "{:?}", printable(&text, true));
        prop_assert!(!printable(&text, false).contains('\x1b'));
    }

    #[test]
    fn one_line_has_no_control_and_no_more_characters_than_asked(text in any::<String>(), limit in 1_usize..60) {
        let line = one_line(&text, limit);
        prop_assert!(!line.chars().any(|c| c.is_control() || misleads(c)), "{:?}", line);
        prop_assert!(line.chars().count() <= limit, "{:?}", line);
    }

    #[test]
    fn text_without_controls_stays_as_it_is(text in "[ -~\u{e4}\u{4e2d}]{0,40}") {
        prop_assert_eq!(printable(&text, true), text);
    }
}

#[test]
fn a_text_that_is_cut_says_so() {
    for (text, limit, cut) in
        [("häuser", 6, "häuser"), ("häuser", 5, "häus…"), ("a b c", 3, "a…"), ("ab", 1, "…"), ("", 1, "")]
    {
        let mut shown = text.to_owned();
        shorten(&mut shown, limit);
        assert_eq!(shown, cut, "{text} {limit}");
    }
}
