//! The login in the URL of a repository, which must stay secret. A name without a password is a login too,
//! because many servers accept a token as name.
//!
//! Every user can read the arguments of a process, and the agent's group can read the spec of a job. Both
//! contain the URL, and so does git's configuration. The environment of a process is readable only by its
//! user. So the login is passed in environment variables, and git gets it from a credential helper.

use url::Url;

/// The variables that hold the login.
const NAME: &str = "NIXFLEET_GIT_USERNAME";
const PASSWORD: &str = "NIXFLEET_GIT_PASSWORD";

/// The credential helper that git runs to get the login. A shell reads this text, which does not contain the
/// login. `printf` is built into the shell, so no argument list contains the login either.
const HELPER: &str = "!f() { test \"$1\" = get && printf 'username=%s\\npassword=%s\\n' \
                      \"$NIXFLEET_GIT_USERNAME\" \"$NIXFLEET_GIT_PASSWORD\"; }; f";

/// The login of a URL.
#[derive(Debug)]
pub(super) struct Login {
    /// The URL without the login.
    pub(super) url: String,
    /// git settings that make git use the helper: key and value.
    pub(super) config: Vec<(String, String)>,
    /// The environment variables for the helper: name and value.
    pub(super) variables: Vec<(String, String)>,
}

impl Login {
    /// Splits a URL into login and rest; `None` without a login. A missing password becomes an empty one.
    /// Only HTTP URLs are split: ssh needs the name in the URL, and git does not use a login with other
    /// schemes.
    pub(super) fn of(address: &str) -> Option<Self> {
        let mut url = Url::parse(address).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        if url.username().is_empty() && url.password().is_none() {
            return None;
        }
        let (name, password) = (decoded(url.username())?, decoded(url.password().unwrap_or_default())?);
        url.set_password(None).and_then(|()| url.set_username("")).ok()?;
        // The login is for this server only; the server may redirect git to another one.
        let key = format!("credential.{}.helper", url.origin().ascii_serialization());
        Some(Self {
            url: url.to_string(),
            // The empty entry disables other helpers, which could save the password in a file.
            config: vec![(key.clone(), String::new()), (key, HELPER.to_owned())],
            variables: vec![(NAME.to_owned(), name), (PASSWORD.to_owned(), password)],
        })
    }
}

/// Decodes percent-encoded text; `None` if the result is not one line of UTF-8.
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
