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

/// Number of letters to insert, remove or replace to change one text into the other (Levenshtein distance).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
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
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, keys), wanted, "{given:?}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), keys), None);
    }
}
