//! Whether a line contains one of many texts, in one pass: a rebuild writes a hundred thousand lines, of which few do.

/// Most texts of one list: the bits of a mask.
const MOST: usize = 32;

/// A list of texts of two bytes at least, with masks of those that have a byte in first and in second place.
pub(super) struct Words {
    words: [&'static str; MOST],
    count: usize,
    first: [u32; 256],
    second: [u32; 256],
}

impl Words {
    /// No texts.
    pub(super) const NONE: Self = Self { words: [""; MOST], count: 0, first: [0; 256], second: [0; 256] };

    /// These texts.
    pub(super) const fn new(words: &[&'static str]) -> Self {
        let mut all = Self::NONE;
        let mut at = 0;
        while at < words.len() {
            all = all.with(words[at]);
            at += 1;
        }
        all
    }

    /// One text more. Too many, or one that is too short, do not compile where the list is a constant.
    pub(super) const fn with(mut self, word: &'static str) -> Self {
        let bytes = word.as_bytes();
        self.words[self.count] = word;
        self.first[bytes[0] as usize] |= 1 << self.count;
        self.second[bytes[1] as usize] |= 1 << self.count;
        self.count += 1;
        self
    }

    /// Whether the line contains one of them.
    pub(super) fn any(&self, line: &str) -> bool {
        let bytes = line.as_bytes();
        bytes.windows(2).enumerate().any(|(at, pair)| {
            let mut candidates = self.first[usize::from(pair[0])] & self.second[usize::from(pair[1])];
            while candidates != 0 {
                let word = self.words[candidates.trailing_zeros() as usize];
                if bytes[at..].starts_with(word.as_bytes()) {
                    return true;
                }
                candidates &= candidates - 1;
            }
            false
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static WORDS: Words = Words::new(&["ab", "abc d", "bcé", "  x"]);

    #[test]
    fn a_text_is_found_wherever_it_stands() {
        for line in ["ab", "xab", "xxabc d", "bcé", "a bcé ", "é  x", "aab"] {
            assert!(WORDS.any(line), "{line}");
        }
        for line in ["", "a", "b", "bc", "bcè", "a b", " x", "acb"] {
            assert!(!WORDS.any(line), "{line}");
        }
    }
}
