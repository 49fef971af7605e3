use super::*;

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
