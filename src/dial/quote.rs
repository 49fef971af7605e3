//! What others say, for a message.

use nixfleet_os::text::one_line;

/// The text on one line and cut to `limit` characters, without a semicolon: behind the first one of a message is its
/// advice.
pub(super) fn quote(text: &str, limit: usize) -> String {
    one_line(text, limit).replace(';', ",")
}
