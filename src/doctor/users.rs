//! Names and uids of the users of this host.

use std::path::Path;
use std::time::Duration;

use nixfleet_os::{bounded_read, subprocess};

/// Longest passwd file read, in bytes: enough for ten thousand users.
const MAX_PASSWD: u64 = 1 << 20;

/// Time limit for id(1). It usually takes milliseconds; with users in a directory service it asks the network.
const ANSWER: Duration = Duration::from_secs(3);

/// The uid of a user, from /etc/passwd, else from id(1), which knows all sources of users.
pub(super) fn uid_of(user: &str) -> Option<u32> {
    from_passwd(|fields| (fields[0] == user).then(|| fields[2].parse().ok())?)
        .or_else(|| from_id_program(&["-u", "--", user])?.parse().ok())
}

/// The name of a user, from the same places.
pub fn name_of(uid: u32) -> Option<String> {
    let number = uid.to_string();
    from_passwd(|fields| (fields[2] == number).then(|| fields[0].to_owned()))
        .or_else(|| from_id_program(&["-un", "--", &number]))
}

/// The first result of `answer` for the fields of a line in /etc/passwd.
fn from_passwd<T>(answer: impl Fn(&[&str]) -> Option<T>) -> Option<T> {
    let file = bounded_read::read(Path::new("/etc/passwd"), MAX_PASSWD).unwrap_or_default();
    String::from_utf8_lossy(&file).lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        if fields.len() < 3 { None } else { answer(&fields) }
    })
}

fn from_id_program(arguments: &[&str]) -> Option<String> {
    let output = subprocess::output(Path::new("id"), arguments, ANSWER).ok()?;
    Some(String::from_utf8_lossy(&output).trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_by_name_and_uid_and_a_stranger_is_not() {
        assert_eq!(uid_of("root"), Some(0));
        assert_eq!((name_of(0).as_deref(), name_of(54_321)), (Some("root"), None));
        assert_eq!(uid_of("no-such-user-here"), None);
    }
}
