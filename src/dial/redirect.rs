//! Answers that name another address.

use super::target::Target;

/// An answer with 301, 302, 307 or 308.
#[derive(Debug)]
pub struct Redirect {
    /// The status code.
    pub status: u16,
    /// The value of `Location`, if it is text.
    pub location: Option<String>,
}

impl Redirect {
    /// The address to go on with; none if this redirect is not followed.
    pub(super) fn follow(&self, _from: &Target) -> Option<Target> {
        None
    }
}
