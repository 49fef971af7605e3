//! Finds the nearest known name, for the hint "did you mean ..?".

/// Longest name that is compared, in characters. Keys have about twenty; the effort grows with the square.
const MAX_COMPARED: usize = 64;

/// The candidate nearest to `given`, if at most a third of its letters differ.
pub(super) fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if given.chars().count() > MAX_COMPARED {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (distance(given, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 1.max(candidate.len() / 3))
        .map(|(_, candidate)| candidate)
}

/// Number of letters to insert, remove or replace, or of neighbours to exchange, to change one text into the other
/// (the optimal string alignment distance).
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    // The rows of the two letters before this one, and its own.
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for (i, letter) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in to.iter().enumerate() {
            let replaced = above[j] + usize::from(letter != other);
            let mut least = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *letter == to[j - 1] && from[i - 1] == *other {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_another_word_finds_none() {
        let keys = ["url", "token_file", "interval", "hostname"];
        for (given, wanted) in [
            ("urll", Some("url")),
            ("intervall", Some("interval")),
            ("host_name", Some("hostname")),
            ("tokenfile", Some("token_file")),
            ("ulr", Some("url")),
            ("hostnaem", Some("hostname")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, keys), wanted, "{given:?}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), keys), None);
    }
}
