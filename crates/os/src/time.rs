//! Time stamps.

/// The current time as RFC 3339 in UTC with milliseconds: the form of all times in files and messages.
pub fn timestamp() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}
