//! Why a command is stopped.

use nixfleet_os::service_manager::Shutdown;

/// Why a command was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::supervisor) enum Reason {
    /// A request to stop.
    Request,
    /// The machine is shutting down.
    Shutdown,
    /// A SIGTERM that the agent did not order, and the service manager does not say whether the machine goes
    /// down.
    Unexplained,
    /// The timeout of the command.
    Timeout,
}

impl Reason {
    /// What a SIGTERM meant. `ordered`: the agent ordered a stop as well.
    pub(super) fn of_sigterm(shutdown: Shutdown, ordered: bool) -> Self {
        match shutdown {
            Shutdown::Begun => Self::Shutdown,
            Shutdown::NotBegun => Self::Request,
            Shutdown::Unknown if ordered => Self::Request,
            Shutdown::Unknown => Self::Unexplained,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sigterm_means_what_the_service_manager_says_and_else_what_the_agent_ordered() {
        for (shutdown, ordered, expected) in [
            (Shutdown::Begun, false, Reason::Shutdown),
            (Shutdown::Begun, true, Reason::Shutdown),
            (Shutdown::NotBegun, false, Reason::Request),
            (Shutdown::NotBegun, true, Reason::Request),
            (Shutdown::Unknown, false, Reason::Unexplained),
            (Shutdown::Unknown, true, Reason::Request),
        ] {
            assert_eq!(Reason::of_sigterm(shutdown, ordered), expected, "{shutdown:?} {ordered}");
        }
    }
}
