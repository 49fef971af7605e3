//! Validates the name of this host.
//!
//! Dashboards use the name as an identity and as the name of a folder, and refuse every name that is not 1 to
//! 63 letters, digits and hyphens. A hyphen at either end is refused here: a program takes such a name for an
//! option, and no DNS label has one. NixOS also allows underscores and, in effect, domains.

use crate::check::{Checker, set};
use crate::layers::quoted;

/// Longest host name, in bytes: the limit of dashboards and of a DNS label.
const MAX_HOSTNAME: usize = 63;

/// What is to be said about a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judged {
    Good,
    /// A domain follows the first dot. The name before it is used.
    Shortened,
    /// The name before the first dot has underscores; otherwise it would be allowed. This name is near.
    Underscores(String),
    /// A hyphen begins or ends the name before the first dot; otherwise it would be allowed. This name is near.
    Hyphen(String),
    Bad,
}

/// Validates the name from the settings, or else from the kernel.
pub(super) fn hostname(check: &mut Checker<'_>, user: &str) -> String {
    match set(check.layers.settings.hostname.as_ref()) {
        Some(name) => validated(check, name, "", user),
        None => {
            let system = rustix::system::uname();
            validated(check, &system.nodename().to_string_lossy(), "the system's name ", user)
        }
    }
}

/// Validates a name. `whose` describes it if it is not from the settings.
pub(super) fn validated(check: &mut Checker<'_>, name: &str, whose: &str, user: &str) -> String {
    let (short, judged) = judge(name);
    // A line to paste, for a flake with this name; none if the settings name an attribute already.
    let attribute = |name: &str| {
        let is_set = set(check.layers.settings.rebuild.flake_attr.as_ref()).is_some();
        let user = if cfg!(target_os = "macos") { format!("{user}@") } else { String::new() };
        (!is_set).then(|| format!("rebuild.flake_attr = {}", quoted(&format!("{user}{name}"))))
    };
    let shown = quoted(name);
    match judged {
        Judged::Good => {}
        Judged::Shortened => {
            let (place, other) = match attribute(name) {
                Some(line) => (
                    "for the dashboard and in the flake",
                    format!(", and {line} if the flake has the long name"),
                ),
                None => ("for the dashboard", String::new()),
            };
            let what = format!("{whose}{shown} is shortened to {short:?} {place}");
            check.warn("hostname", what, format!("set hostname = {short:?} if that is right{other}"));
        }
        Judged::Underscores(near) => {
            let other = attribute(short).map_or_else(String::new, |line| format!(" and {line}"));
            let place = if check.layers.set_by_variable("hostname") {
                " in the settings instead of the variable"
            } else {
                " in the settings"
            };
            check.refuse(
                "hostname",
                format!("{whose}{shown} has an underscore, and dashboards refuse such a host"),
                format!("write hostname = {near:?}{other}{place}"),
            );
        }
        Judged::Hyphen(near) => check.refuse(
            "hostname",
            format!(
                "{whose}{shown} begins or ends with a hyphen, and programs take such a name for an option"
            ),
            format!("write hostname = {near:?}"),
        ),
        Judged::Bad => check.refuse(
            "hostname",
            format!("{whose}{shown} is not 1 to {MAX_HOSTNAME} letters, digits and hyphens"),
            "set NIXFLEET_HOSTNAME to a short name such as web-1",
        ),
    }
    short.to_owned()
}

/// The name up to the first dot, and what to say about the whole.
pub(super) fn judge(name: &str) -> (&str, Judged) {
    let short = up_to_dot(name);
    if is_allowed(short) {
        return (short, if short == name { Judged::Good } else { Judged::Shortened });
    }
    let only_underscores =
        short.len() <= MAX_HOSTNAME && short.bytes().all(|byte| byte == b'_' || is_allowed_byte(byte));
    let judged = match near_hostname(short).filter(|_| only_underscores) {
        Some(near) if short.contains('_') => Judged::Underscores(near),
        Some(near) => Judged::Hyphen(near),
        None => Judged::Bad,
    };
    (short, judged)
}

/// The name that a host with this one should have: up to the first dot, and if dashboards refuse that, with
/// hyphens for the characters that they refuse. None if nothing would be left.
pub fn near_hostname(name: &str) -> Option<String> {
    let short = up_to_dot(name);
    if is_allowed(short) {
        return Some(short.to_owned());
    }
    let fits = |letter: char| match u8::try_from(letter) {
        Ok(byte) if is_allowed_byte(byte) => letter,
        _ => '-',
    };
    let near: String = short.chars().map(fits).take(MAX_HOSTNAME).collect();
    // Hyphens at the ends would look odd.
    Some(near.trim_matches('-').to_owned()).filter(|near| !near.is_empty())
}

fn up_to_dot(name: &str) -> &str {
    name.split('.').next().unwrap_or_default()
}

fn is_allowed(name: &str) -> bool {
    (1..=MAX_HOSTNAME).contains(&name.len())
        && name.bytes().all(is_allowed_byte)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn is_allowed_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}
