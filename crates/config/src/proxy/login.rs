//! The login for a proxy.

use std::io;
use std::path::PathBuf;

use nixfleet_os::bounded_read;
use nixfleet_os::text::BYTE_ORDER_MARK;

use crate::Secret;
use crate::problem::one_line;

/// Longest file read, in bytes: more than a long password.
const MAX_FILE: u64 = 16 * 1024;

/// How to write the file.
const FORM: &str = "write one line into it, USER:PASSWORD";

/// What systemd passes in the place of a login whose file is missing: `SetCredential=` of the agent's unit. No login is
/// without a colon.
const NOT_PASSED: &[u8] = b"no login was passed";

/// A name and a password. Neither is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyLogin {
    user: Secret,
    password: Secret,
}

impl ProxyLogin {
    /// A login of these.
    pub fn new(user: &str, password: &str) -> Self {
        Self { user: Secret::new(user), password: Secret::new(password) }
    }

    /// The name, for the proxy alone.
    pub fn user(&self) -> &str {
        self.user.expose()
    }

    /// The password, for the proxy alone.
    pub fn password(&self) -> &str {
        self.password.expose()
    }
}

/// Where the login is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginSource {
    /// In a file, which may be replaced while the agent runs.
    File(PathBuf),
    /// In the address of the proxy.
    Address {
        /// What named the proxy: a variable, or the key and the file.
        said_by: String,
        /// The login itself.
        login: ProxyLogin,
    },
}

/// The login cannot be used. The error never contains a part of it.
#[derive(Debug, thiserror::Error)]
#[error("{}; {}", self.what(), self.fix())]
pub struct ProxyLoginError {
    path: PathBuf,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Unreadable(io::Error),
    NotPassed,
    Malformed(&'static str),
}

impl ProxyLoginError {
    fn path(&self) -> String {
        one_line(&self.path.to_string_lossy())
    }

    /// What is wrong.
    pub(super) fn what(&self) -> String {
        let path = self.path();
        match &self.why {
            Why::Unreadable(err) => format!("cannot read the login for the proxy from {path}: {err}"),
            Why::NotPassed => {
                format!(
                    "systemd passed no login for the proxy, because the file in LoadCredential= for {path} is missing"
                )
            }
            Why::Malformed(what) => format!("{path} {what}"),
        }
    }

    /// What to do about it.
    pub(super) fn fix(&self) -> &'static str {
        match &self.why {
            // Something else is at this place.
            Why::Unreadable(err) if err.kind() == io::ErrorKind::InvalidInput => {
                "name a file with one line in it, USER:PASSWORD, in NIXFLEET_PROXY_LOGIN_FILE"
            }
            Why::Unreadable(err) if err.kind() == io::ErrorKind::FileTooLarge => FORM,
            Why::Unreadable(_) => "check NIXFLEET_PROXY_LOGIN_FILE, and let the agent's user read the file",
            Why::NotPassed => "write USER:PASSWORD into that file, and run systemctl restart nixfleet-agent",
            Why::Malformed(_) => FORM,
        }
    }

    /// What a check of the settings says of a file that this user cannot see; none for a file that is wrong.
    pub(super) fn absence(&self) -> Option<String> {
        let Why::Unreadable(err) = &self.why else { return None };
        let path = self.path();
        match err.kind() {
            io::ErrorKind::NotFound => Some(format!("{path} does not exist on this machine")),
            io::ErrorKind::PermissionDenied => {
                Some(format!("this user may not read {path}, so it was not checked; check it as root"))
            }
            _ => None,
        }
    }

    /// Whether this user may not read the file.
    pub fn is_denied(&self) -> bool {
        matches!(&self.why, Why::Unreadable(err) if err.kind() == io::ErrorKind::PermissionDenied)
    }
}

impl LoginSource {
    /// Where it is, for people.
    pub fn place(&self) -> String {
        match self {
            Self::File(path) => one_line(&path.to_string_lossy()),
            Self::Address { said_by, .. } => said_by.clone(),
        }
    }

    /// Reads the login. It is called for every attempt to connect, so a new one needs no restart. Blocks.
    ///
    /// # Errors
    /// [`ProxyLoginError`], which names the file.
    pub fn read(&self) -> Result<ProxyLogin, ProxyLoginError> {
        let path = match self {
            Self::Address { login, .. } => return Ok(login.clone()),
            Self::File(path) => path,
        };
        let failed = |why| ProxyLoginError { path: path.clone(), why };
        let bytes = bounded_read::read(path, MAX_FILE).map_err(|err| failed(Why::Unreadable(err)))?;
        parse(&bytes).map_err(failed)
    }
}

fn parse(bytes: &[u8]) -> Result<ProxyLogin, Why> {
    if bytes == NOT_PASSED {
        return Err(Why::NotPassed);
    }
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Err(Why::Malformed("holds no login"));
    }
    if line.starts_with(BYTE_ORDER_MARK) {
        return Err(Why::Malformed("begins with the byte order mark of an editor"));
    }
    let line = std::str::from_utf8(line).map_err(|_| Why::Malformed("is not UTF-8"))?;
    if line.contains(['\n', '\r']) {
        return Err(Why::Malformed("has more than one line"));
    }
    if line.contains(char::is_control) {
        return Err(Why::Malformed("has a control character"));
    }
    // The first colon: a name cannot have one (RFC 7617), and a password can.
    match line.split_once(':') {
        Some(("", _)) => Err(Why::Malformed("has no user in front of the colon")),
        Some((user, password)) => Ok(ProxyLogin::new(user, password)),
        None => Err(Why::Malformed("has no colon between user and password")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_login_is_one_line_and_is_never_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("login");
        let source = LoginSource::File(path.clone());
        for (content, wanted) in [
            (&b"me:s3cret"[..], ("me", "s3cret")),
            (b"me:s3cret\n", ("me", "s3cret")),
            (b"me:s3cret\r\n", ("me", "s3cret")),
            (b"me:s3:cret \n", ("me", "s3:cret ")),
            (b"me:\n", ("me", "")),
            ("m\u{e9}:s3cret\u{e9}".as_bytes(), ("m\u{e9}", "s3cret\u{e9}")),
        ] {
            fs::write(&path, content).unwrap();
            let login = source.read().unwrap();
            assert_eq!((login.user(), login.password()), wanted, "{content:?}");
            assert!(!format!("{login:?}").contains("s3cret") && !format!("{login:?}").contains("me"));
        }
        for (content, wanted) in [
            (&b""[..], "holds no login; write one line into it, USER:PASSWORD"),
            (b"\n", "holds no login"),
            (b"s3cret", "has no colon"),
            (b":s3cret", "has no user"),
            (b"me:s3cret\nmore\n", "more than one line"),
            (b"me:s3cret\n\n", "more than one line"),
            (b"\xef\xbb\xbfme:s3cret", "byte order mark"),
            (b"me:s3cret\xff", "is not UTF-8"),
            (b"me:s3\x07cret", "control character"),
            (b"no login was passed", "systemd passed no login"),
        ] {
            fs::write(&path, content).unwrap();
            let error = source.read().unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains(wanted) && text.contains("/login"), "{text}");
            assert!(!text.contains("s3cret") && error.absence().is_none(), "{text}");
        }
        fs::remove_file(&path).unwrap();
        let error = source.read().unwrap_err();
        let path = path.display();
        assert!(
            error
                .to_string()
                .starts_with(&format!("cannot read the login for the proxy from {path}: No such"))
        );
        assert_eq!(error.absence(), Some(format!("{path} does not exist on this machine")));
    }
}
