//! The client certificate, by which the dashboard knows this host.

use std::io;

use jiff::Timestamp;

use nixfleet_config::{ClientCertificateError, Connection};
use nixfleet_os::error::chain;
use nixfleet_os::text::one_line;

use super::{Finding, fail, ok, root_only, warning, warning_of_line};

const NAME: &str = "client cert";

/// Longest text about a file in characters.
const TEXT: usize = 500;

/// Findings about certificate and key; none if none is set.
pub(super) fn findings(connection: &Connection, now: Timestamp) -> Vec<Finding> {
    let Some(files) = &connection.client_certificate else { return Vec::new() };
    let read = match files.read() {
        Ok(read) => read,
        Err(err) if denied(&err) => return vec![root_only(NAME, files.key.display())],
        Err(err) => {
            let text = one_line(&chain(&err), TEXT);
            let (what, fix) = text.split_once("; ").unwrap_or((&text, "name a file that the agent can read"));
            return vec![fail(NAME, what, fix)];
        }
    };
    let mut findings: Vec<Finding> =
        read.warning().map(|text| warning_of_line(NAME, &text)).into_iter().collect();
    if let Some(remark) = read.remark(now) {
        let text = one_line(&remark.text, TEXT);
        let (what, fix) = text.split_once("; ").unwrap_or((&text, ""));
        findings.push(if remark.kind.is_error() { fail(NAME, what, fix) } else { warning(NAME, what, fix) });
    }
    if findings.is_empty() {
        let path = one_line(&read.path().to_string_lossy(), TEXT);
        findings.push(match read.validity() {
            Some(validity) => {
                let days = validity.not_after.duration_since(now).as_hours() / 24;
                ok(NAME, format!("{path} is valid for {days} more days"))
            }
            None => ok(NAME, format!("{path} fits its key")),
        });
    }
    findings
}

/// Whether a connection needs it, and this user may not read it.
pub(super) fn is_denied(connection: &Connection) -> bool {
    let needed = connection.client_certificate.as_ref().filter(|_| connection.url.expose().scheme() == "wss");
    needed.is_some_and(|files| files.read().is_err_and(|err| denied(&err)))
}

fn denied(err: &ClientCertificateError) -> bool {
    matches!(
        err,
        ClientCertificateError::Unreadable { why, .. } if why.kind() == io::ErrorKind::PermissionDenied
    )
}
