//! How systemd-boot sorts versions and names (the version format of the UAPI group). Pure: no I/O.

use std::cmp::Ordering;

/// Letters that separate the parts of a version, in the order in which they are looked at; a version with the
/// separator is older than one without it in that place.
const SEPARATORS: [u8; 3] = *b"-^.";

/// Compares two versions: numbers by their value, letters by their code.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        (a, b) = (relevant(a), relevant(b));
        // A tilde is older than the end of the version: 1.0~rc1 is older than 1.0.
        if let Some(order) = separated(&mut a, &mut b, b'~') {
            match order {
                Ordering::Equal => {}
                order => return order,
            }
        }
        if a.is_empty() || b.is_empty() {
            return b.is_empty().cmp(&a.is_empty());
        }
        for separator in SEPARATORS {
            match separated(&mut a, &mut b, separator) {
                None | Some(Ordering::Equal) => {}
                Some(order) => return order,
            }
        }
        let is_number = [a, b].iter().any(|rest| rest.first().is_some_and(u8::is_ascii_digit));
        let kind = if is_number { u8::is_ascii_digit } else { u8::is_ascii_alphabetic };
        let (part_of_a, rest_of_a) = split(a, kind);
        let (part_of_b, rest_of_b) = split(b, kind);
        let order = if is_number { numbers(part_of_a, part_of_b) } else { part_of_a.cmp(part_of_b) };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (rest_of_a, rest_of_b);
    }
}

/// The rest behind letters that have no meaning.
fn relevant(text: &[u8]) -> &[u8] {
    let has_meaning = |byte: &u8| byte.is_ascii_alphanumeric() || b"~-^.".contains(byte);
    let start = text.iter().position(has_meaning).unwrap_or(text.len());
    text.get(start..).unwrap_or_default()
}

/// Compares by a separator, and goes behind it if both have it. None if neither has it.
fn separated(a: &mut &[u8], b: &mut &[u8], separator: u8) -> Option<Ordering> {
    match (a.split_first(), b.split_first()) {
        (Some((first, rest)), Some((other, others))) if *first == separator && *other == separator => {
            (*a, *b) = (rest, others);
            Some(Ordering::Equal)
        }
        (Some((first, _)), _) if *first == separator => Some(Ordering::Less),
        (_, Some((other, _))) if *other == separator => Some(Ordering::Greater),
        _ => None,
    }
}

fn split(text: &[u8], kind: fn(&u8) -> bool) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|byte| !kind(byte)).unwrap_or(text.len()))
}

/// Compares digits by their value, whatever their count. No digits are less than any.
fn numbers(a: &[u8], b: &[u8]) -> Ordering {
    let value =
        |digits: &[u8]| -> Vec<u8> { digits.iter().copied().skip_while(|digit| *digit == b'0').collect() };
    let (value_of_a, value_of_b) = (value(a), value(b));
    let shorter = value_of_a.len().cmp(&value_of_b.len());
    a.is_empty().cmp(&b.is_empty()).reverse().then(shorter).then_with(|| value_of_a.cmp(&value_of_b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_order_is_one_for_any_three_versions(
            a in "[~^.0ab1_-]{0,6}",
            b in "[~^.0ab1_-]{0,6}",
            c in "[~^.0ab1_-]{0,6}",
        ) {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            if compare(&a, &b) != Ordering::Greater && compare(&b, &c) != Ordering::Greater {
                prop_assert_ne!(compare(&a, &c), Ordering::Greater);
            }
        }
    }

    #[test]
    fn the_order_is_that_of_the_specification() {
        // Each is newer than the one before it, as in the specification's own examples.
        for list in [
            &["~1", "", "ab", "abb", "abc", "0001", "002", "12", "122", "122.9", "123~rc1", "123"][..],
            &[
                "123-a",
                "123-a.1",
                "123-3",
                "123-3.1",
                "123^patch1",
                "123^1",
                "123.a-1",
                "123.1-1",
                "123a-1",
                "124",
            ],
            &["nixos-generation-9.conf", "nixos-generation-10.conf", "nixos-generation-100.conf"],
            &[
                "Generation 9 NixOS 26.05, built on 2026-07-14",
                "Generation 12 NixOS 25.11, built on 2026-07-01",
            ],
        ] {
            for (index, older) in list.iter().enumerate() {
                assert_eq!(compare(older, older), Ordering::Equal, "{older}");
                for newer in &list[index + 1..] {
                    assert_eq!(compare(older, newer), Ordering::Less, "{older} {newer}");
                    assert_eq!(compare(newer, older), Ordering::Greater, "{newer} {older}");
                }
            }
        }
        assert_eq!(compare("01", "1"), Ordering::Equal);
        assert_eq!(compare("a_b", "ab"), Ordering::Less, "it is two parts");
    }
}
