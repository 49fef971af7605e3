//! What curl and wget say, and the answers of servers.

use super::rule::Meaning::{Cause, Noise, Remark, Status};
use super::rule::Rule;
use super::rule::When::{Both, Has, Starts};

pub(super) const RULES: &[Rule] = &[
    (Starts("% Total "), Noise),
    (Starts("Dload "), Noise),
    (Starts("More details here: https://curl.se/"), Noise),
    (Starts("curl failed to verify the legitimacy"), Noise),
    (Starts("establish a secure connection to it."), Noise),
    (Starts("how to fix it, please visit"), Noise),
    (Starts("Warning: Problem"), Remark),
    (Both("curl: (22)", "returned error"), Status),
    (Starts("curl: ("), Cause),
    (Starts("wget: "), Cause),
    (Has(" ERROR 4"), Status),
    // `curl --include`: headers, an empty line, the body. Other answers are no failure.
    (Starts("HTTP/1.0 4"), Status),
    (Starts("HTTP/1.1 4"), Status),
    (Starts("HTTP/2 4"), Status),
    (Starts("HTTP/1.1 5"), Status),
    (Starts("HTTP/2 5"), Status),
];
