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
        assert_eq!(safe(text, true), wanted, "{text:?}");
    }
    assert_eq!(safe("\x1b[31merror\x1b[0m", false), "error");
    let long = format!("\x1b[{}mx", "1;".repeat(MAX_PARAMETERS));
    assert_eq!(safe(&long, true), "x");
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
        prop_assert!(is_safe(&safe(&text, true)), "{:?}", safe(&text, true));
        prop_assert!(!safe(&text, false).contains('\x1b'));
    }

    #[test]
    fn text_without_controls_stays_as_it_is(text in "[ -~\u{e4}\u{4e2d}]{0,40}") {
        prop_assert_eq!(safe(&text, true), text);
    }
}

#[test]
fn colours_follow_the_option_the_terminal_and_no_color() {
    let look = |colours, safe| Look { colours, safe };
    for (color, terminal, plain, wanted) in [
        (Color::Auto, true, false, look(true, true)),
        (Color::Auto, true, true, look(false, true)),
        (Color::Auto, false, false, look(false, false)),
        (Color::Always, false, true, look(true, true)),
        (Color::Never, true, false, look(false, true)),
        (Color::Never, false, false, look(false, false)),
    ] {
        assert_eq!(color.decide(terminal, plain), wanted, "{color:?} {terminal} {plain}");
    }
    assert_eq!(Paint::Red.on("x", true), "\x1b[31mx\x1b[0m");
    assert_eq!(Paint::Red.on("x", false), "x");
}
