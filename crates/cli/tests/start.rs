//! docs/fleet-start.md runs as it stands: a server of NATS, a gateway, a host, this program and a dashboard, with the
//! logins of dist/nats.
#![allow(clippy::unwrap_used, clippy::string_slice, reason = "a test that cannot go on should say where")]

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nixfleet_testbed::Place;
use rustix::process::{Pid, Signal, kill_process_group};

/// Longest wait for all of it, also beside other builds.
const PATIENCE: Duration = Duration::from_secs(60);

/// The address in the page, in whose place the test has one of its own.
const SHOWN: &str = "127.0.0.1";

/// What the test adds in front: everything ends with the test, also if that is killed, and the first command waits until
/// the host is online, as a person who looks would.
const BEFORE: &str = r#"
exec 3<&0 </dev/null
(read -r _ <&3 || kill -KILL 0) &
nixfleet() {
    until command nixfleet --config cli.toml hosts --online 2>> nixfleet.log | grep -q web-1; do sleep 0.1; done
    command nixfleet "$@"
}
"#;

/// And behind.
const BEHIND: &str = "\necho THE END\nwait\n";

struct Page {
    text: String,
}

impl Page {
    fn read() -> Self {
        Self { text: fs::read_to_string(repository("docs/fleet-start.md")).unwrap() }
    }

    /// Its commands, in order.
    fn script(&self) -> String {
        let blocks = self.text.split("\n```sh\n").skip(1);
        let blocks: Vec<_> = blocks.map(|rest| rest.split("\n```").next().unwrap()).collect();
        assert!(blocks.len() > 3, "{blocks:?}");
        blocks.join("\n")
    }
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// The programs beside this one. Cargo builds all of them for the tests of the workspace; for those of this package alone
/// it has to be told.
fn programs() -> &'static Path {
    let folder = Path::new(env!("CARGO_BIN_EXE_nixfleet")).parent().unwrap();
    let all = [
        ("nixfleet-agent", "nixfleet-agent"),
        ("nixfleet-gateway", "nixfleet-gateway"),
        ("nixfleet-console", "nixfleet-dashboard"),
    ];
    for (package, program) in all {
        if !folder.join(program).exists() {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut build = Command::new(cargo);
            build.args(["build", "--locked", "-p", package, "--bin", program]);
            assert!(build.status().unwrap().success(), "no {program} could be built");
        }
    }
    folder
}

/// A folder that looks like that of the project, as far as the page needs it.
fn project(address: Ipv4Addr, server: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir_all(path("dist/nats")).unwrap();
    for file in ["single.conf", "logins.conf"] {
        let text = fs::read_to_string(repository("dist/nats").join(file)).unwrap();
        fs::write(path("dist/nats").join(file), text.replace(SHOWN, &address.to_string())).unwrap();
    }
    fs::create_dir(path("target")).unwrap();
    symlink(programs(), path("target/debug")).unwrap();
    fs::create_dir(path("bin")).unwrap();
    // One without a path is on `PATH`.
    if server.is_absolute() {
        symlink(server, path("bin/nats-server")).unwrap();
    }
    folder
}

/// The answer to a request.
fn http(address: Ipv4Addr, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect((address, 8081)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let request = format!(
        "{head}\r\nHost: {address}:8081\r\nConnection: close\r\nContent-Length: {length}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Looks until it is so.
fn wait(what: &str, mut is_so: impl FnMut() -> bool, seen: impl Fn() -> String) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not come: {}", seen());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The script, and everything that it has started, until this is dropped.
struct Script(Child);

impl Drop for Script {
    fn drop(&mut self) {
        // An error means that all have ended.
        kill_process_group(Pid::from_child(&self.0), Signal::KILL).ok();
        drop(self.0.wait());
    }
}

#[test]
fn the_page_starts_a_fleet() {
    // Says why, if there is no server.
    let Some(server) = nixfleet_testbed::program() else { return };
    let place = Place::take();
    let address = place.address();
    let folder = project(address, server);
    let script = format!("{BEFORE}{}{BEHIND}", Page::read().script().replace(SHOWN, &address.to_string()));
    let path = format!("{}:{}", folder.path().join("bin").display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    command.args(["-euc", &script]).current_dir(folder.path()).env("PATH", path).process_group(0);
    let output = fs::File::create(folder.path().join("output")).unwrap();
    let errors = output.try_clone().unwrap();
    let script = Script(command.stdin(Stdio::piped()).stdout(output).stderr(errors).spawn().unwrap());
    let log = |name: &str| fs::read_to_string(folder.path().join("fleet").join(name)).unwrap_or_default();
    let said = || fs::read_to_string(folder.path().join("output")).unwrap();
    wait(
        "the end of the page",
        || said().ends_with("THE END\n"),
        || format!("{}{}", said(), log("nixfleet.log")),
    );
    let said = said();
    assert!(said.contains("web-1 | hello from web-1\n"), "{said}{}", log("nixfleet.log"));
    assert!(said.contains("web-1  online"), "{said}");

    wait("a dashboard that answers", || TcpStream::connect((address, 8081)).is_ok(), || log("dashboard.log"));
    let login = http(address, "POST /login HTTP/1.1", "name=anna&password=a+good+password");
    assert!(login.starts_with("HTTP/1.1 303 "), "{login}");
    let cookie = login.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    let cookie = cookie.split(';').next().unwrap();
    wait(
        "the host on the dashboard",
        || {
            let hosts = http(address, &format!("GET /api/hosts HTTP/1.1\r\nCookie: {cookie}"), "");
            hosts.contains("\"hostname\":\"web-1\"")
        },
        || log("dashboard.log"),
    );
    for name in ["nats.log", "gateway.log", "dashboard.log", "web-1.log"] {
        let log = log(name);
        assert!(!log.is_empty() && !log.contains("Violation"), "{name}:\n{log}");
    }
    drop(script);
}
