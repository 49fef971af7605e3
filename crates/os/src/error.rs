//! Errors as text.

use std::error::Error;
use std::fmt::Write;

/// An error with all its causes on one line. A repeated cause is left out.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let detail = error.to_string();
        // Some libraries repeat the text of the source in their own text.
        if !text.ends_with(&detail) {
            // Writing to a string cannot fail.
            write!(text, ": {detail}").ok();
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn every_cause_is_said_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot open the door")]
        struct Door(#[source] io::Error);
        #[derive(Debug, thiserror::Error)]
        #[error("repeats: {0}")]
        struct Repeats(#[source] Door);
        let io = || io::Error::other("no key");
        assert_eq!(chain(&Door(io())), "cannot open the door: no key");
        assert_eq!(chain(&Repeats(Door(io()))), "repeats: cannot open the door: no key");
    }
}
