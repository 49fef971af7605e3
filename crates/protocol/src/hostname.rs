//! Names of hosts.

/// Longest name of a host (RFC 1035, section 2.3.4).
const MAX_HOSTNAME: usize = 63;

/// Whether an agent may register this name: 1 to 63 of A-Z, a-z, 0-9 and `-`.
#[must_use]
pub fn is_hostname(name: &str) -> bool {
    (1..=MAX_HOSTNAME).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::is_hostname;

    #[test]
    fn a_name_is_one_label() {
        for name in ["a", "web-1", "WEB", "-", &"a".repeat(63)] {
            assert!(is_hostname(name), "{name}");
        }
        for name in
            ["", "a.b", "a b", "a*", "*", ">", "\u{e4}", "a_b", "a\r\nPUB b 0", "$KV", &"a".repeat(64)]
        {
            assert!(!is_hostname(name), "{name}");
        }
    }
}
