//! A login in the address of a repository, kept out of sight. A name without a password is one as well:
//! many servers take a token for a name.
//!
//! Everybody may read the arguments of a process, and the group of the agent what a job was asked to
//! do; the address is in both, and in git's own configuration. The environment of a process is its
//! user's alone, so the login travels there, and git asks for it where it needs it.

use url::Url;

/// The variables that hold the login.
const NAME: &str = "NIXFLEET_GIT_USERNAME";
const PASSWORD: &str = "NIXFLEET_GIT_PASSWORD";

/// What git runs to be told the login. The shell reads this text, which holds nothing of the login;
/// its `printf` is its own, so that no argument list does either.
const HELPER: &str = "!f() { test \"$1\" = get && printf 'username=%s\\npassword=%s\\n' \
                      \"$NIXFLEET_GIT_USERNAME\" \"$NIXFLEET_GIT_PASSWORD\"; }; f";

/// The login that was in an address.
#[derive(Debug)]
pub(super) struct Login {
    /// The address without it.
    pub(super) url: String,
    /// git's settings that make it ask: key and value.
    pub(super) config: Vec<(String, String)>,
    /// Name and value of the variables that answer.
    pub(super) variables: Vec<(String, String)>,
}

impl Login {
    /// Takes the login out of an address; none when there is none in it. Without a password it is sent
    /// with an empty one. ssh has to have its name where it is, and with other schemes git has no use for one.
    pub(super) fn of(address: &str) -> Option<Self> {
        let mut url = Url::parse(address).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        if url.username().is_empty() && url.password().is_none() {
            return None;
        }
        let (name, password) = (decoded(url.username())?, decoded(url.password().unwrap_or_default())?);
        url.set_password(None).and_then(|()| url.set_username("")).ok()?;
        // For this server only: it may send git on to another one.
        let key = format!("credential.{}.helper", url.origin().ascii_serialization());
        Some(Self {
            url: url.to_string(),
            // The empty one takes away those that would write the password to a file of theirs.
            config: vec![(key.clone(), String::new()), (key, HELPER.to_owned())],
            variables: vec![(NAME.to_owned(), name), (PASSWORD.to_owned(), password)],
        })
    }
}

/// Text from its form in a URL; none when it is no line of text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'%' => {
                let code = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(str::from_utf8(&code).ok()?, 16).ok()?
            }
            _ => byte,
        });
    }
    String::from_utf8(plain).ok().filter(|text| !text.contains(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_taken_out_of_the_address_and_nothing_else_is() {
        let login = Login::of("https://me%40work:p%2Fw%C3%A4%20x@git.example.org:8443/a/b.git").unwrap();
        assert_eq!(login.url, "https://git.example.org:8443/a/b.git");
        let values: Vec<&str> = login.variables.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, ["me@work", "p/wä x"]);
        assert!(login.config.iter().all(|(key, _)| key == "credential.https://git.example.org:8443.helper"));
        assert!(!format!("{:?}", login.config).contains("p/w"));
        for other in [
            "https://git.example.org/a.git",
            "https://git.example.org/a@b.git",
            "ssh://git@git.example.org/a.git",
            "ssh://git:pw@git.example.org/a.git",
            "git@git.example.org:a.git",
            "/srv/a.git",
            "https://me:line%0Aend@git.example.org/a.git",
            "https://me:not%FFtext@git.example.org/a.git",
        ] {
            assert!(Login::of(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_name_may_be_the_secret_and_goes_with_an_empty_password() {
        for (address, expected) in [
            ("https://t0ken%2F@git.example.org/a.git", ["t0ken/", ""]),
            ("https://t0ken%2F:@git.example.org/a.git", ["t0ken/", ""]),
            ("http://git@git.example.org/a.git", ["git", ""]),
            ("https://:pw@git.example.org/a.git", ["", "pw"]),
        ] {
            let login = Login::of(address).unwrap();
            assert!(login.url.ends_with("://git.example.org/a.git"), "{address}: {}", login.url);
            let values: Vec<&str> = login.variables.iter().map(|(_, value)| value.as_str()).collect();
            assert_eq!(values, expected, "{address}");
            assert!(!format!("{:?}", login.config).contains("t0ken"), "{address}");
        }
    }

    #[test]
    fn a_shell_runs_the_helper_as_git_does() {
        let helper = HELPER.strip_prefix('!').unwrap();
        let login = [(NAME, "me"), (PASSWORD, "p'w \\n \"$(id)")];
        for (operation, answer) in
            [("get", "username=me\npassword=p'w \\n \"$(id)\n"), ("store", ""), ("erase", "")]
        {
            let mut shell = std::process::Command::new("sh");
            let output = shell.arg("-c").arg(format!("{helper} {operation}")).envs(login).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), answer, "{operation}");
        }
    }
}
