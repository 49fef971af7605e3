//! What sudo, systemd's tools, D-Bus and polkit say.

use super::rule::Meaning::{Cause, Noise, Remark};
use super::rule::Rule;
use super::rule::When::{Both, Has, Starts};

pub(super) const RULES: &[Rule] = &[
    // Behind or beside a failure.
    (Has("WARNING **: "), Remark),
    (Starts("sudo: unable to resolve host "), Remark),
    (Both("sudo: ", "is owned by uid"), Remark),
    (Starts("sudo: If sudo is running in a container"), Noise),
    (Starts("See system logs and "), Noise),
    (Starts("See \"systemctl "), Noise),
    (Starts("See `systemctl "), Noise),
    (Starts("See 'systemctl "), Noise),
    (Starts("==== AUTH"), Noise),
    (Starts("Running as unit: "), Noise),
    (Starts("Sorry, try again"), Remark),
    // The first refusal says more than those behind it.
    (Starts("sudo: "), Cause),
    (Starts("sudo-rs: "), Cause),
    (Starts("doas: "), Cause),
    (Has(" is not in the sudoers file"), Cause),
    (Both("Sorry, user ", "is not allowed to execute"), Cause),
    (Starts("Error executing command as another user"), Cause),
    (Starts("polkit-agent-helper-1: "), Cause),
    (Starts("Failed to connect to bus"), Cause),
    (Starts("Failed to connect to system scope bus"), Cause),
    (Starts("Failed to connect to user scope bus"), Cause),
    (Starts("Failed to connect to socket "), Cause),
    (Starts("Failed to activate service "), Cause),
    (Starts("Failed to execute "), Cause),
    (Starts("Failed to spawn "), Cause),
    (Starts("Job for "), Cause),
    (Starts("A dependency job for "), Cause),
    (Both("Unit ", " not found."), Cause),
    (Both("Unit ", " is masked."), Cause),
    (Both("Unit ", " was already loaded"), Cause),
    (Starts("System has not been booted with systemd"), Cause),
    (Starts("Did not receive a reply."), Cause),
    (Has("nteractive authentication required"), Cause),
    (Has("org.freedesktop.DBus.Error."), Cause),
    (Has("org.freedesktop.PolicyKit1.Error."), Cause),
];
