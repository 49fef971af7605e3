//! Validates the settings of the connection: URL, token, certificates, interval.

use std::io;
use std::ops::RangeInclusive;
use std::path::Path;

use jiff::Timestamp;
use nixfleet_os::address::{Address, public};
use nixfleet_os::error::chain;
use url::Url;

use crate::check::{Checker, set};
use crate::client_certificate::{CERT, KEY};
use crate::layers::quoted;
use crate::loopback::is_loopback;
use crate::problem::one_line;
use crate::token::TOKEN_VARIABLE;
use crate::{
    CaFileError, ClientCertificateError, ClientCertificateFiles, Connection, Secret, TokenError, TokenSource,
    ca_file, proxy,
};

/// Keys that only [`connection`] reads.
pub(super) const KEYS: &[&str] = &[
    "url",
    "token",
    "token_file",
    "ca_file",
    CERT,
    KEY,
    "interval",
    "allow_insecure",
    proxy::KEYS[0],
    proxy::KEYS[1],
];

/// Seconds between heartbeats. With more than an hour a host would count as offline for hours.
pub const INTERVAL: RangeInclusive<i64> = 1..=3600;

/// Path where dashboards listen, for URLs without a path.
const DEFAULT_PATH: &str = "/ws";

/// How far a check of the settings goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// The settings alone.
    Settings,
    /// The files that they name as well: the token is read, if this user may.
    Files,
}

/// Validates the connection. `None` if URL or token are unusable.
pub(super) fn connection(check: &mut Checker<'_>, depth: Depth) -> Option<Connection> {
    let settings = &check.layers.settings;
    let url = url(check);
    let token = token(check);
    let ca_file = check.optional_path("ca_file", settings.ca_file.as_ref());
    let client_certificate = client_certificate(check);
    if client_certificate.is_some() && url.as_ref().is_some_and(|url| url.scheme() == "ws") {
        check.warn(
            CERT,
            "has no effect with ws://, which has no TLS",
            "write wss:// in NIXFLEET_URL, or leave it out",
        );
    }
    let way = proxy::way(check, url.as_ref());
    if depth == Depth::Files {
        if let Some(token) = &token {
            token_content(check, token);
        }
        if let Some(path) = &ca_file {
            certificates(check, path);
        }
        if let Some(files) = &client_certificate {
            client_certificate_content(check, files);
        }
        proxy::check_login(check, &way);
    }
    let interval = check.seconds("interval", settings.interval, INTERVAL);
    Some(Connection { url: Address::new(url?), token: token?, ca_file, client_certificate, way, interval })
}

fn url(check: &mut Checker<'_>) -> Option<Url> {
    let Some(given) = set(check.layers.settings.url.as_ref()) else {
        check.refuse(
            "url",
            "missing",
            "set NIXFLEET_URL to the dashboard's address such as wss://fleet.example.org/ws",
        );
        return None;
    };
    let as_example = "write it as wss://HOST/ws";
    let mut url = match Url::parse(given) {
        Ok(url) => url,
        // Text that is not a URL may still hold a password.
        Err(error) => {
            check.refuse("url", format!("{} is not a URL: {error}", quoted(&public(given))), as_example);
            return None;
        }
    };
    if url.path() == "/" {
        url.set_path(DEFAULT_PATH);
    }
    let secure = match url.scheme() {
        "wss" => true,
        "ws" => false,
        web @ ("http" | "https") => {
            let local =
                url.host_str().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]"));
            let scheme = if web == "http" && local { "ws" } else { "wss" };
            let place = &url[url::Position::BeforeHost..url::Position::AfterPath];
            check.refuse("url", format!("{web}:// is for web pages"), format!("write {scheme}://{place}"));
            return None;
        }
        other => {
            let what = format!("{} is neither ws:// nor wss://", quoted(&format!("{other}:")));
            check.refuse("url", what, as_example);
            return None;
        }
    };
    if !url.username().is_empty() || url.password().is_some() {
        check.refuse(
            "url",
            "holds a user name or a password",
            "leave it out; the token goes into NIXFLEET_TOKEN_FILE",
        );
        return None;
    }
    if url.fragment().is_some() {
        check.refuse("url", "holds a #, which no server gets to see", "leave it out");
        return None;
    }
    if !secure && !is_loopback(&url) && !check.layers.settings.allow_insecure {
        let host = url.host_str().unwrap_or_default();
        let what = format!("ws://{host} would send the token unencrypted to another machine");
        check.refuse("url", what, "write wss://, or set NIXFLEET_ALLOW_INSECURE=1 on a network you trust");
        return None;
    }
    Some(url)
}

fn token(check: &mut Checker<'_>) -> Option<TokenSource> {
    if let Some(token) = check.variable(TOKEN_VARIABLE) {
        let token = TokenSource::Environment(Secret::new(token));
        if let Err(error) = token.read() {
            check.refuse("token", error.to_string(), "set NIXFLEET_TOKEN to the token alone");
        }
        return Some(token);
    }
    if let Some(file) = set(check.layers.settings.token_file.as_ref()) {
        return Some(TokenSource::File(check.path("token_file", file)));
    }
    let credential = check.variable("CREDENTIALS_DIRECTORY").map(|folder| Path::new(folder).join("token"));
    if let Some(file) = credential.filter(|file| file.exists()) {
        return Some(TokenSource::File(file));
    }
    // A token_file of a wrong type was removed from the settings and is reported on its own.
    if check.problems.iter().all(|problem| problem.key != "token_file") {
        check.refuse(
            "token",
            "missing",
            "set NIXFLEET_TOKEN_FILE to a file that holds it, or NIXFLEET_TOKEN",
        );
    }
    None
}

/// Checks the token itself. A file that this user may not read is only a warning: somebody else than the agent
/// may check the settings.
fn token_content(check: &mut Checker<'_>, token: &TokenSource) {
    let key = if set(check.layers.settings.token_file.as_ref()).is_some() { "token_file" } else { "token" };
    match token.read() {
        Ok(token) => check.warnings.extend(token.warning().map(str::to_owned)),
        Err(TokenError::Unreadable { path, source }) if source.kind() == io::ErrorKind::NotFound => {
            absent(check, key, &path);
        }
        Err(TokenError::Unreadable { path, source }) if source.kind() == io::ErrorKind::PermissionDenied => {
            let what = format!("this user may not read {}", one_line(&path.to_string_lossy()));
            check.warnings.push(format!("{key}: {what}, so the token was not checked; check it as root"));
        }
        Err(error) => check.refuse(key, chain(&error), error.fix()),
    }
}

/// Checks the file of certificates itself, with the same exception.
fn certificates(check: &mut Checker<'_>, path: &Path) {
    match ca_file::certificates(path) {
        Ok(_) => {}
        Err(CaFileError::Unreadable { why, .. }) if why.kind() == io::ErrorKind::NotFound => {
            absent(check, "ca_file", path);
        }
        Err(CaFileError::Unreadable { why, .. }) if why.kind() == io::ErrorKind::PermissionDenied => {
            let what = format!("this user may not read {}", one_line(&path.to_string_lossy()));
            check.warnings.push(format!("ca_file: {what}, so it was not checked; check it as root"));
        }
        Err(error) => {
            let text = chain(&error);
            let (what, fix) =
                text.split_once("; ").unwrap_or((&text, "name a file with certificates in PEM"));
            check.refuse("ca_file", what, fix);
        }
    }
}

/// Where the client certificate is: both files, or none.
fn client_certificate(check: &mut Checker<'_>) -> Option<ClientCertificateFiles> {
    let settings = &check.layers.settings;
    let given = [(CERT, settings.client_cert.as_ref()), (KEY, settings.client_key.as_ref())];
    // A value of a wrong type was removed from the settings and is reported on its own.
    let is_reported = check.problems.iter().any(|problem| [CERT, KEY].contains(&problem.key.as_str()));
    let [cert, key] = given.map(|(name, text)| check.optional_path(name, text));
    match (cert, key) {
        (Some(cert), Some(key)) => Some(ClientCertificateFiles { cert, key }),
        _ if is_reported => None,
        (Some(_), None) => {
            check.refuse(
                CERT,
                "is set without client_key",
                "name the file with the key of that certificate in client_key",
            );
            None
        }
        (None, Some(_)) => {
            check.refuse(
                KEY,
                "is set without client_cert",
                "name the file with the certificate of that key in client_cert",
            );
            None
        }
        (None, None) => client_credentials(check),
    }
}

/// The credentials that systemd passes: both, or none.
fn client_credentials(check: &mut Checker<'_>) -> Option<ClientCertificateFiles> {
    let folder = Path::new(check.variable("CREDENTIALS_DIRECTORY")?);
    let (cert, key) = (folder.join("client-cert"), folder.join("client-key"));
    match (cert.exists(), key.exists()) {
        (true, true) => Some(ClientCertificateFiles { cert, key }),
        (false, false) => None,
        (true, false) => {
            let fix = "add LoadCredential=client-key:FILE to the agent's unit";
            check.refuse(CERT, "is passed as the credential client-cert, without client-key", fix);
            None
        }
        (false, true) => {
            let fix = "add LoadCredential=client-cert:FILE to the agent's unit";
            check.refuse(KEY, "is passed as the credential client-key, without client-cert", fix);
            None
        }
    }
}

/// Checks the client certificate itself, with the same exceptions as for the token.
fn client_certificate_content(check: &mut Checker<'_>, files: &ClientCertificateFiles) {
    let read = match files.read() {
        Ok(read) => read,
        Err(ClientCertificateError::Unreadable { setting, path, why })
            if why.kind() == io::ErrorKind::NotFound =>
        {
            return absent(check, setting, &path);
        }
        Err(ClientCertificateError::Unreadable { setting, path, why })
            if why.kind() == io::ErrorKind::PermissionDenied =>
        {
            let what = format!("this user may not read {}", one_line(&path.to_string_lossy()));
            let rest = "so the client certificate was not checked; check it as root";
            return check.warnings.push(format!("{setting}: {what}, {rest}"));
        }
        Err(error) => {
            let text = chain(&error);
            let (what, fix) = text.split_once("; ").unwrap_or((&text, "name a file that the agent can read"));
            return check.refuse(error.setting(), what, fix);
        }
    };
    check.warnings.extend(read.warning());
    if let Some(remark) = read.remark(Timestamp::now()) {
        let (what, fix) = remark.text.split_once("; ").unwrap_or((&remark.text, ""));
        match remark.kind.is_error() {
            true => check.refuse(CERT, what, fix),
            false => check.warn(CERT, what, fix),
        }
    }
}
/// What the warning of a file that does not exist ends with.
pub const ABSENT: &str = "does not exist on this machine";

/// Warns of a file that does not exist. It is no problem: settings may be checked on the machine that builds them.
fn absent(check: &mut Checker<'_>, key: &str, path: &Path) {
    let path = one_line(&path.to_string_lossy());
    check.warnings.push(format!("{key}: {path} {ABSENT}"));
}
