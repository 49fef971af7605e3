//! A repository that needs a login.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::host::Host;
use crate::command::{commit, git};

/// Serves a folder over HTTP to clients with this login (git's dumb protocol). Returns the address. Ends with the
/// test.
fn serve(folder: PathBuf, login: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            // Ignore clients that disconnect.
            drop(client.and_then(|client| answer(&client, &folder, login)));
        }
    });
    address
}

fn answer(mut client: &TcpStream, folder: &Path, login: &str) -> std::io::Result<()> {
    let head: Vec<String> =
        BufReader::new(client).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default().trim_start_matches('/');
    let known = head
        .iter()
        .any(|line| line.to_ascii_lowercase().starts_with("authorization: basic ") && line.ends_with(login));
    let (status, body) = match fs::read(folder.join(path)) {
        _ if !known => ("401 Who\r\nWWW-Authenticate: Basic realm=\"git\"", Vec::new()),
        Ok(body) => ("200 OK", body),
        Err(_) => ("404 None", Vec::new()),
    };
    write!(client, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len())?;
    client.write_all(&body)
}

/// All files in a folder that contain the text.
pub(super) fn files_with(folder: &Path, text: &str) -> Vec<PathBuf> {
    let output = Command::new("grep").args(["-rlaF", "--", text]).arg(folder).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(PathBuf::from).collect()
}

#[test]
fn a_password_in_the_address_opens_the_repository_and_shows_up_nowhere() {
    let mut host = Host::new();
    git(&host.origin(), &["update-server-info"]);
    // `me:pass/word` in base 64.
    let address = serve(host.origin().join(".git"), "bWU6cGFzcy93b3Jk");
    host.set("NIXFLEET_REPO_URL", format!("http://me:pass%2Fword@{address}/"));
    // git logs every program that it starts, with its arguments.
    let trace = host.path("state/trace");
    host.set("GIT_TRACE", &trace);
    host.run("pull").ok();
    host.assert_equal_to_origin();
    commit(&host.origin(), "flake.nix", "{ a = 1; }");
    git(&host.origin(), &["update-server-info"]);
    let done = host.run("pull").ok();
    host.assert_equal_to_origin();
    assert!(fs::read_to_string(&trace).unwrap().contains("git remote-http"), "the trace says something");
    assert!(done.spec().steps[0].argv.contains(&format!("http://{address}/")));
    for text in ["pass/word", "pass%2Fword"] {
        assert_eq!(files_with(&host.path("state"), text), Vec::<PathBuf>::new());
    }
    // With a wrong password, git's message is shown without the password.
    host.set("NIXFLEET_REPO_URL", format!("http://me:wrong%2Fone@{address}/"));
    let done = host.run("pull").failed("fatal: Authentication failed for");
    assert!(!done.result.message.contains("wrong"), "{}", done.result.message);
}

#[test]
fn a_token_for_a_name_opens_the_repository_and_shows_up_nowhere() {
    // With and without the colon: many services show the address with one.
    for end in ["", ":"] {
        let mut host = Host::new();
        git(&host.origin(), &["update-server-info"]);
        // `t0ken/s3cret:`, which has an empty password.
        let address = serve(host.origin().join(".git"), "dDBrZW4vczNjcmV0Og==");
        host.set("NIXFLEET_REPO_URL", format!("http://t0ken%2Fs3cret{end}@{address}/"));
        let trace = host.path("state/trace");
        host.set("GIT_TRACE", &trace);
        let done = host.run("pull").ok();
        host.assert_equal_to_origin();
        assert!(fs::read_to_string(&trace).unwrap().contains("git remote-http"), "the trace says something");
        assert!(done.spec().steps[0].argv.contains(&format!("http://{address}/")));
        for text in ["t0ken/s3cret", "t0ken%2Fs3cret"] {
            assert_eq!(files_with(&host.path("state"), text), Vec::<PathBuf>::new());
        }
    }
}
