//! The scripts of the `test` command, and the files beside them that it does not run.

use std::path::PathBuf;

/// Files that are named because they are not run. Further ones are counted.
const NAMED: usize = 10;

/// Characters of a file name that are shown. The longest name has 255 bytes.
const SHOWN: usize = 100;

/// Why a file that looks like a test is not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotRun {
    /// It has the name of a test, but nobody may execute it.
    NotExecutable,
    /// It is a script or a program, but has another name than a test.
    OtherName,
    /// It has the name of a test, but cannot be looked at, such as a link that leads nowhere.
    Unreadable,
}

impl NotRun {
    fn why(self) -> &'static str {
        match self {
            Self::NotExecutable => "is not executable; set it with `git update-index --chmod=+x`",
            Self::OtherName => "does not match `T*.sh`",
            Self::Unreadable => "cannot be read; is it a link that leads nowhere?",
        }
    }
}

/// What is in the folder of a host's tests.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TestScripts {
    /// Executable files `T*.sh`, in order.
    pub run: Vec<PathBuf>,
    /// The names of files that look like tests and are not run, in order.
    pub not_run: Vec<(String, NotRun)>,
}

impl TestScripts {
    /// Lines for people about the files that are not run.
    pub(super) fn remarks(&self) -> Vec<String> {
        let named = self.not_run.iter().take(NAMED);
        let mut lines: Vec<String> =
            named.map(|(name, why)| format!("not run: {} {}", shown(name), why.why())).collect();
        let rest = self.not_run.len().saturating_sub(NAMED);
        if rest > 0 {
            lines.push(format!("not run: {rest} more files"));
        }
        lines
    }
}

/// A file name that fits into a line. Whoever commits to the repository chooses it.
fn shown(name: &str) -> String {
    let plain = name.chars().map(|letter| if letter.is_control() { '?' } else { letter });
    let text: String = plain.take(SHOWN).collect();
    if name.chars().count() > SHOWN { text + ".." } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_not_run_are_named_up_to_a_bound() {
        let file = |name: &str, why| (name.to_owned(), why);
        let few = TestScripts {
            run: Vec::new(),
            not_run: vec![
                file("T1.sh", NotRun::NotExecutable),
                file("a\nb.sh", NotRun::OtherName),
                file(&"x".repeat(255), NotRun::OtherName),
            ],
        };
        let long = "x".repeat(SHOWN);
        assert_eq!(
            few.remarks(),
            [
                "not run: T1.sh is not executable; set it with `git update-index --chmod=+x`".to_owned(),
                "not run: a?b.sh does not match `T*.sh`".to_owned(),
                format!("not run: {long}.. does not match `T*.sh`"),
            ]
        );
        let not_run = (0..NAMED + 3).map(|n| file(&format!("{n}.sh"), NotRun::OtherName)).collect();
        let remarks = TestScripts { not_run, ..TestScripts::default() }.remarks();
        assert_eq!(remarks.len(), NAMED + 1);
        assert_eq!(remarks[NAMED], "not run: 3 more files");
        assert!(TestScripts::default().remarks().is_empty());
    }
}
