//! Files with variables, against a second reading of the rules.

use nixfleet_config::environment_file as parser;

/// A name and a value.
type Pair = (Vec<u8>, Vec<u8>);

/// A file with variables: names and values are parts of the text, one name is in one line, and a second implementation
/// of systemd's rules finds the same.
pub fn environment_file(data: &[u8]) {
    let found = parser::assignments(data);
    let signs = data.iter().filter(|byte| **byte == b'=').count();
    assert!(found.len() <= signs, "{} assignments with {signs} signs", found.len());
    let length: usize = found.iter().map(|found| found.name.len() + found.value.len() + 1).sum();
    assert!(length <= data.len(), "{length} bytes of {}", data.len());
    for found in &found {
        // As for systemd, a sign at the beginning belongs to the name.
        assert!(!found.name.iter().skip(1).any(|byte| matches!(byte, b'\n' | b'\r' | b'=')), "{found:?}");
        assert_eq!(found.name.trim_ascii(), found.name, "{found:?}");
    }
    // Lines before the file change nothing, if they are complete.
    let behind = parser::assignments(&[b"# '\"\\\nA='b'\n", data].concat());
    assert_eq!(behind.get(1..), Some(found.as_slice()));
    let pairs: Vec<Pair> = found.into_iter().map(|found| (found.name, found.value)).collect();
    assert_eq!(pairs, by_states(data), "of {:?}", String::from_utf8_lossy(data));
}

/// Where a byte is, by systemd.exec(5).
#[derive(Clone, Copy, PartialEq)]
enum At {
    Start,
    Comment,
    Name,
    /// In front of the value, and behind a quoted part of it.
    Before,
    Value,
    Escaped,
    Single,
    Double,
    DoubleEscaped,
}

/// Reads byte by byte, with one state and without looking ahead.
fn by_states(text: &[u8]) -> Vec<Pair> {
    let (mut at, mut pairs) = (At::Start, Vec::new());
    let (mut name, mut value) = (Vec::new(), Vec::new());
    // Bytes of the value that blanks at its end are not a part of.
    let mut kept = 0;
    for byte in text {
        let (ends, blank) = (matches!(byte, b'\n' | b'\r'), matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
        at = match at {
            At::Start if blank => At::Start,
            At::Start if matches!(byte, b'#' | b';') => At::Comment,
            At::Comment if !ends => At::Comment,
            At::Comment => At::Start,
            At::Name if ends => {
                name.clear();
                At::Start
            }
            At::Name if *byte == b'=' => At::Before,
            At::Start | At::Name => {
                name.push(*byte);
                At::Name
            }
            At::Before | At::Value if ends => {
                value.truncate(kept);
                pairs.push((unexported(&name), std::mem::take(&mut value)));
                name.clear();
                kept = 0;
                At::Start
            }
            At::Before if *byte == b'\'' => At::Single,
            At::Before if *byte == b'"' => At::Double,
            At::Before if blank => At::Before,
            At::Before | At::Value if *byte == b'\\' => {
                kept = value.len();
                At::Escaped
            }
            At::Before | At::Value => {
                value.push(*byte);
                if !blank {
                    kept = value.len();
                }
                At::Value
            }
            At::Escaped => {
                if !ends {
                    value.push(*byte);
                }
                kept = value.len();
                At::Value
            }
            At::Single if *byte == b'\'' => At::Before,
            At::Double if *byte == b'"' => At::Before,
            At::Double if *byte == b'\\' => At::DoubleEscaped,
            At::DoubleEscaped => {
                match byte {
                    b'"' | b'\\' | b'`' | b'$' => value.push(*byte),
                    b'\n' => {}
                    _ => value.extend([b'\\', *byte]),
                }
                kept = value.len();
                At::Double
            }
            At::Single | At::Double => {
                value.push(*byte);
                kept = value.len();
                at
            }
        };
    }
    if !matches!(at, At::Start | At::Comment | At::Name) {
        value.truncate(kept);
        pairs.push((unexported(&name), value));
    }
    pairs
}

/// A name without the word that shells put before it, which systemd does not know.
fn unexported(name: &[u8]) -> Vec<u8> {
    let name = name.trim_ascii();
    match name.strip_prefix(b"export") {
        Some(rest @ [b' ' | b'\t', ..]) => rest.trim_ascii().to_vec(),
        _ => name.to_vec(),
    }
}
