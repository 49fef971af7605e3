//! The newest commit of the repository. Agents leave the part `git` of their `update_status` empty, because only a
//! dashboard that looks after the repository knows that commit.

use nixfleet_jobs::git::short;
use nixfleet_protocol::{UpdateState, Verdict};

/// The newest commit, if the dashboard was told.
#[derive(Debug, Default)]
pub(super) struct Newest {
    commit: Option<String>,
    checked_at: String,
}

impl Newest {
    /// Whether this is news.
    pub(super) fn set(&mut self, commit: Option<&str>, at: String) -> bool {
        if self.commit.as_deref() == commit {
            return false;
        }
        *self = Self { commit: commit.map(str::to_owned), checked_at: at };
        true
    }

    /// Judges a checkout by its commit. None if the newest commit is not known.
    pub(super) fn state(&self, checkout: Option<&str>) -> Option<UpdateState> {
        let newest = self.commit.as_deref()?;
        Some(match checkout {
            None => UpdateState::Unknown,
            Some(checkout) if checkout == newest => UpdateState::Ok,
            Some(_) => UpdateState::Outdated,
        })
    }

    /// The same for people.
    pub(super) fn judge(&self, checkout: Option<&str>) -> Option<Verdict> {
        let status = self.state(checkout)?;
        let name = |commit: &str| short(commit).unwrap_or_default();
        let newest = name(self.commit.as_deref()?);
        let message = match checkout {
            None => "there is no checkout yet".to_owned(),
            Some(_) if status == UpdateState::Ok => format!("{newest} is the newest commit"),
            Some(checkout) => format!("{newest} is the newest commit, {} is in the checkout", name(checkout)),
        };
        Some(Verdict { status, message, checked_at: self.checked_at.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "1111111111111111111111111111111111111111";
    const NEW: &str = "2222222222222222222222222222222222222222";

    #[test]
    fn a_checkout_is_judged_only_by_a_commit_that_is_known() {
        let mut newest = Newest::default();
        assert_eq!(newest.judge(Some(NEW)), None);
        assert!(newest.set(Some(NEW), "then".to_owned()));
        assert!(!newest.set(Some(NEW), "later".to_owned()), "no news");
        let judged = |checkout| {
            let verdict = newest.judge(checkout).unwrap();
            assert_eq!(verdict.checked_at, "then");
            (verdict.status, verdict.message)
        };
        assert_eq!(judged(Some(NEW)), (UpdateState::Ok, "2222222 is the newest commit".to_owned()));
        assert_eq!(
            judged(Some(OLD)),
            (UpdateState::Outdated, "2222222 is the newest commit, 1111111 is in the checkout".to_owned())
        );
        assert_eq!(judged(None), (UpdateState::Unknown, "there is no checkout yet".to_owned()));
        assert!(newest.set(None, "now".to_owned()));
        assert_eq!(newest.state(Some(OLD)), None);
    }
}
