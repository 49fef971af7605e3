//! The hint in an error of the file's syntax. It never shows the value, which may be a secret.

const LIST: &str = "write a list as [\"a\", \"b\"] and a table as { NAME = \"value\" }";

/// How to fix a file that is not TOML. `at` is the position of the error in the text.
pub(super) fn hint(text: &str, at: usize, message: &str) -> &'static str {
    if message.contains("duplicate key") {
        return "keep one of the two";
    }
    if message.contains("array") || message.contains("inline table") {
        return LIST;
    }
    let before = text.get(..at).unwrap_or(text);
    let begin = before.rfind('\n').map_or(0, |end| end + 1);
    let line = text.get(begin..).unwrap_or_default().lines().next().unwrap_or_default().trim();
    if line.starts_with('[') {
        return "write a section as [repo], on a line of its own";
    }
    let Some((_, value)) = line.split_once('=') else {
        return "write NAME = VALUE, and begin a comment with #";
    };
    match value.trim_start().chars().next() {
        None | Some('#') => "write a value behind the =, such as interval = 30",
        Some('"' | '\'') => "end the text with the quote that it begins with, on the same line",
        Some('[' | '{') => LIST,
        Some(letter) if letter.is_ascii_digit() || matches!(letter, '+' | '-') => {
            "write a number as 30, and put text in quotes"
        }
        Some(_) => "put text in quotes, such as url = \"wss://fleet.example.org/ws\"",
    }
}

#[cfg(test)]
mod tests {
    use figment::providers::{Format, Toml};
    use figment::value::Dict;

    use super::*;

    #[test]
    fn the_hint_fits_the_mistake() {
        for (text, wanted) in [
            ("interval = 5\nurl = wss://s3cret\n", "put text in quotes, such as"),
            ("url = \"wss://s3cret\ninterval = 5\n", "end the text with the quote"),
            ("interval =\n", "write a value behind the ="),
            ("interval = # later\n", "write a value behind the ="),
            ("interval\n", "write NAME = VALUE"),
            ("interval: 30\n", "write NAME = VALUE"),
            ("interval = 30s\n", "write a number as 30"),
            ("[repo\nurl = 'x'\n", "write a section as [repo]"),
            ("interval = 5\ninterval = 6\n", "keep one of the two"),
            ("vitals.disks = [\"/\"\n", "write a list as"),
        ] {
            let error = Toml::from_str::<Dict>(text).expect_err("not TOML");
            let at = error.span().map_or(0, |span| span.start);
            let hint = hint(text, at, error.message());
            assert!(hint.starts_with(wanted), "{text:?}: {hint} ({} at {at})", error.message());
            assert!(!error.message().contains("s3cret"), "{}", error.message());
        }
    }
}
