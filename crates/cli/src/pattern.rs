//! Patterns of names, as shells have them.

use nixfleet_os::text::one_line;
use nixfleet_protocol::is_hostname;

/// Longest quotation of a bad name.
const MAX_QUOTED: usize = 80;

/// A name, or a pattern of names: `*` is any text, `?` any character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(String);

impl Pattern {
    /// Reads one.
    ///
    /// # Errors
    /// Why it is none, for people.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        // As a name it is checked with letters in the place of its wildcards.
        let letters: String = text.chars().filter(|letter| *letter != '*').map(plain).collect();
        if is_hostname(&letters) || (letters.is_empty() && text.contains('*')) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "`{}` is no name of a host: those have 1 to 63 letters, digits and hyphens, and patterns also * and ?",
            one_line(text, MAX_QUOTED)
        ))
    }

    /// The name. None if it stands for several.
    pub(crate) fn name(&self) -> Option<&str> {
        (!self.0.contains(['*', '?'])).then_some(self.0.as_str())
    }

    /// As it was written.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// Whether it stands for this name.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut p, mut n) = (0, 0);
        // Behind the last `*`, and how much of the name that one has taken.
        let mut star: Option<(usize, usize)> = None;
        while n < name.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    star = Some((p + 1, n));
                    p += 1;
                }
                Some(b'?') => (p, n) = (p + 1, n + 1),
                Some(letter) if *letter == name[n] => (p, n) = (p + 1, n + 1),
                // The last `*` takes one more, which is enough: what an earlier one could take, it can as well.
                _ => match &mut star {
                    Some((behind, taken)) => {
                        *taken += 1;
                        (p, n) = (*behind, *taken);
                    }
                    None => return false,
                },
            }
        }
        pattern.iter().skip(p).all(|letter| *letter == b'*')
    }
}

fn plain(letter: char) -> char {
    if letter == '?' { 'x' } else { letter }
}

/// The key that sorts names as people count: `web-2` is before `web-10`.
pub(crate) fn natural(name: &str) -> Vec<(String, u64)> {
    let mut parts: Vec<(String, u64)> = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (text, behind) = rest.split_at(digits);
        let end = behind.find(|c: char| !c.is_ascii_digit()).unwrap_or(behind.len());
        let (number, behind) = behind.split_at(end);
        // A number that is too long sorts behind all others; names end after 63 characters.
        parts.push((text.to_owned(), number.parse().unwrap_or(u64::MAX)));
        rest = behind;
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_are_those_of_shells() {
        for (pattern, matching, other) in [
            ("web-1", &["web-1"][..], &["web-10", "web", "WEB-1"][..]),
            ("web-*", &["web-", "web-1", "web-1-2"], &["web", "xweb-1"]),
            ("*", &["a", "web-1"], &[]),
            ("web-?", &["web-1"], &["web-", "web-10"]),
            ("*-1", &["web-1", "a-1-1"], &["web-11", "1"]),
            ("a*b*c", &["abc", "aXbYc", "abbcc"], &["ab", "acb"]),
            ("??", &["ab"], &["a", "abc"]),
        ] {
            let pattern = Pattern::new(pattern).unwrap();
            for name in matching {
                assert!(pattern.matches(name), "{pattern:?} {name}");
            }
            for name in other {
                assert!(!pattern.matches(name), "{pattern:?} {name}");
            }
        }
        assert_eq!(Pattern::new("web-1").unwrap().name(), Some("web-1"));
        assert_eq!(Pattern::new("web-?").unwrap().name(), None);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "x".repeat(64);
        for text in ["", "a.b", "a b", ">", "web-1\x1b[2J", "{a,b}", "[ab]", &long] {
            let why = Pattern::new(text).unwrap_err();
            assert!(!why.contains('\x1b') && why.contains("no name of a host"), "{why}");
        }
    }

    #[test]
    fn numbers_in_names_count() {
        let mut names = ["web-10", "web-2", "db", "web-1", "web", "a1b2", "a1b10"];
        names.sort_by_key(|name| natural(name));
        assert_eq!(names, ["a1b2", "a1b10", "db", "web", "web-1", "web-2", "web-10"]);
    }

    proptest! {
        #[test]
        fn a_pattern_is_the_same_as_a_slow_one(pattern in "[ab*?]{1,8}", name in "[ab]{1,10}") {
            fn slow(pattern: &[u8], name: &[u8]) -> bool {
                match (pattern.split_first(), name.split_first()) {
                    (None, None) => true,
                    (Some((b'*', rest)), None) => slow(rest, name),
                    (Some((b'*', rest)), Some((_, behind))) => slow(rest, name) || slow(pattern, behind),
                    (Some((b'?', rest)), Some((_, behind))) => slow(rest, behind),
                    (Some((p, rest)), Some((n, behind))) => p == n && slow(rest, behind),
                    _ => false,
                }
            }
            let fast = Pattern::new(&pattern).unwrap().matches(&name);
            prop_assert_eq!(fast, slow(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
