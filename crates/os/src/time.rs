//! Time stamps.

/// Now, as RFC 3339 with milliseconds, the form of every time in files and on the wire.
pub fn timestamp() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}
