//! Variables in text of the kind that systemd reads for `EnvironmentFile=`.
//!
//! The rules are those of systemd.exec(5), with one addition: `export` before a name is skipped, because such
//! files are often read by a shell, too. Lines without `=` and lines that begin with `#` or `;` are ignored.

/// A line `NAME=value`.
#[derive(Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Without blanks around it. It can be any bytes.
    pub name: Vec<u8>,
    /// Without quotes, escapes and the blanks around it. It can be any bytes.
    pub value: Vec<u8>,
}

/// All assignments, in the order of the text.
pub fn assignments(text: &[u8]) -> Vec<Assignment> {
    let mut bytes = text.iter().copied();
    let mut found = Vec::new();
    while let Some(first) = bytes.next() {
        if matches!(first, b'#' | b';') {
            bytes.find(|byte| ends_line(*byte));
        } else if !is_blank(first)
            && let Some(name) = name(first, &mut bytes)
        {
            found.push(Assignment { name, value: value(&mut bytes) });
        }
    }
    found
}

fn ends_line(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

fn is_blank(byte: u8) -> bool {
    ends_line(byte) || matches!(byte, b' ' | b'\t')
}

/// The name before the `=`. `None` if the line ends without one.
fn name(first: u8, bytes: &mut impl Iterator<Item = u8>) -> Option<Vec<u8>> {
    let mut name = vec![first];
    loop {
        match bytes.next()? {
            b'=' => break,
            byte if ends_line(byte) => return None,
            byte => name.push(byte),
        }
    }
    let name = name.trim_ascii();
    let exported =
        name.strip_prefix(b"export").filter(|rest| rest.first().is_some_and(|byte| is_blank(*byte)));
    Some(exported.map_or(name, <[u8]>::trim_ascii).to_vec())
}

/// The value behind the `=`, up to the end of the line.
fn value(bytes: &mut impl Iterator<Item = u8>) -> Vec<u8> {
    let mut value = Vec::new();
    // Length without the blanks at the end that are neither quoted nor escaped.
    let mut length = 0;
    // A quote has a meaning only at the beginning and directly behind quoted text.
    let mut may_quote = true;
    while let Some(byte) = bytes.next() {
        match byte {
            byte if ends_line(byte) => break,
            b'\'' if may_quote => value.extend(bytes.by_ref().take_while(|byte| *byte != b'\'')),
            b'"' if may_quote => double_quoted(bytes, &mut value),
            b'\\' => {
                may_quote = false;
                // An escaped line end continues the line.
                value.extend(bytes.next().filter(|next| !ends_line(*next)));
            }
            byte if is_blank(byte) => {
                if !may_quote {
                    value.push(byte);
                }
                continue;
            }
            byte => {
                may_quote = false;
                value.push(byte);
            }
        }
        length = value.len();
    }
    value.truncate(length);
    value
}

/// Text up to the closing quote.
fn double_quoted(bytes: &mut impl Iterator<Item = u8>, value: &mut Vec<u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => match bytes.next() {
                Some(escaped @ (b'"' | b'\\' | b'`' | b'$')) => value.push(escaped),
                Some(b'\n') | None => {}
                // As in a shell, the backslash stays before any other character.
                Some(other) => value.extend([b'\\', other]),
            },
            byte => value.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_systemd_reads_them() {
        for (text, wanted) in [
            ("A=b", &[("A", "b")][..]),
            ("A=b\nC=d\n", &[("A", "b"), ("C", "d")]),
            ("A=b\r\nC=d\r\n", &[("A", "b"), ("C", "d")]),
            ("# A=x\n ; A=y \\\n\n  A = b \t\n", &[("A", "b")]),
            (
                "export A=b\nexport\tB=c\nexportC=d\nexport =e",
                &[("A", "b"), ("B", "c"), ("exportC", "d"), ("export", "e")],
            ),
            ("no sign of it\nA=b", &[("A", "b")]),
            ("A=", &[("A", "")]),
            ("A=\nB=c", &[("A", ""), ("B", "c")]),
            ("A='b # c' # d", &[("A", "b # c# d")]),
            ("A=\"b\"", &[("A", "b")]),
            ("A='b\"' \"c\"d'e'", &[("A", "b\"cd'e'")]),
            ("A=b'c'", &[("A", "b'c'")]),
            (r#"A="\"\\\`\$\b""#, &[("A", "\"\\`$\\b")]),
            (r"A=b\c\ ", &[("A", "bc ")]),
            ("A=b\\\nc\n", &[("A", "bc")]),
            ("A=\"b\\\nc\"\n", &[("A", "bc")]),
            ("A='b\nC=d", &[("A", "b\nC=d")]),
            ("A=b=c==", &[("A", "b=c==")]),
            ("=b\nA=c", &[("A", "c")]),
            ("A=\\", &[("A", "")]),
            ("", &[]),
        ] {
            let found = assignments(text.as_bytes());
            let found: Vec<(&str, &str)> = found
                .iter()
                .map(|found| {
                    (std::str::from_utf8(&found.name).unwrap(), std::str::from_utf8(&found.value).unwrap())
                })
                .collect();
            assert_eq!(found, wanted, "{text:?}");
        }
    }
}
