//! The step `tls`: the certificate of the dashboard.

use jiff::{SignedDuration, Timestamp};

use nixfleet_os::certificate::Certificate;

use super::super::{Finding, ok, warning};

/// Remaining validity below which a certificate should have been renewed already: those of public authorities
/// are renewed a month before their end.
const RENEWED: SignedDuration = SignedDuration::from_hours(14 * 24);

/// The finding for a certificate that was accepted; none if it could not be read.
pub(super) fn trusted(certificate: Option<&Certificate>, now: Timestamp) -> Finding {
    let Some(certificate) = certificate else { return ok("tls", "the certificate is trusted") };
    let left = certificate.validity.not_after.duration_since(now);
    let days = left.as_hours() / 24;
    let text = format!("the certificate is trusted, and valid for {days} more days");
    if left < RENEWED { warning("tls", text, "renew it; why was it not renewed?") } else { ok("tls", text) }
}
