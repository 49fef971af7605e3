//! Tests that need a network, names and a resolver of their own. Such a test runs itself again in new namespaces, where
//! it is root, and where nothing of what it does to devices, `/etc/hosts` and `/etc/resolv.conf` reaches the machine.

#![cfg(target_os = "linux")]

use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::skipped::skipped;

/// In the namespaces, this variable has the name of the network namespace outside.
const OUTSIDE: &str = "NIXFLEET_TEST_NETWORK_OUTSIDE";

fn name() -> String {
    fs::read_link("/proc/self/ns/net").unwrap().display().to_string()
}

/// Whether this process is in namespaces of its own, with the loopback device up. Outside of them this runs the test of
/// this name again inside, and fails if that fails. A machine that allows no namespaces skips the test with one line.
pub(crate) fn is_inside(test: &str) -> bool {
    if let Ok(outside) = std::env::var(OUTSIDE) {
        assert_ne!(name(), outside, "this would take the network of the machine down");
        ip("link set lo up");
        return true;
    }
    match unshare() {
        Ok(mut command) => {
            command.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
            let output = command.env(OUTSIDE, name()).output().unwrap();
            let text = [output.stdout, output.stderr]
                .map(|text| String::from_utf8_lossy(&text).into_owned())
                .concat();
            assert!(output.status.success() && text.contains("1 passed"), "in the namespace: {text}");
        }
        // tests/systemd has a late network as well, and must not be skipped in CI.
        Err(why) => {
            skipped(&format!("{test}: no network namespace with a device of its own here: {why}"));
        }
    }
    false
}

/// A command that runs another one in new namespaces. Without root, the kernel must allow user namespaces; some kernels
/// allow them to nobody, and root needs none.
fn unshare() -> Result<Command, String> {
    let mut why = String::new();
    for user in [&["--user", "--map-root-user"][..], &[]] {
        let command = || {
            let mut command = Command::new("unshare");
            command.args(user).args(["--net", "--mount", "--"]).stdin(Stdio::null());
            command
        };
        match command().args(["ip", "link", "set", "lo", "up"]).output() {
            Ok(tried) if tried.status.success() => return Ok(command()),
            Ok(tried) => why = String::from_utf8_lossy(&tried.stderr).trim().to_owned(),
            Err(err) => return Err(format!("unshare: {err}")),
        }
    }
    Err(why)
}

/// Runs ip(8) with these arguments.
pub(crate) fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().unwrap();
    assert!(status.success(), "ip {arguments}: {status}");
}

/// Makes IPv6 addresses that look as if they were on a link of this host, and from which nothing ever comes back: every
/// packet is lost on a wire. A name that has only such addresses cannot be reached, but by a proxy that knows another way.
pub(crate) fn dead_addresses(count: u16) -> Vec<IpAddr> {
    ip("link add wire type veth peer name far");
    ip("link set wire up");
    ip("link set far up");
    ip("-6 address add fd00:1::1/64 dev wire nodad");
    let address = |number: u16| Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 2 + number);
    let dead: Vec<Ipv6Addr> = (0..count).map(address).collect();
    for address in &dead {
        // Without an entry for its neighbour, the kernel would say "no route to host" after 3 s.
        ip(&format!("-6 neighbour add {address} lladdr 02:00:00:00:00:01 dev wire nud permanent"));
    }
    dead.into_iter().map(IpAddr::V6).collect()
}

/// Which names this host knows, and which name server it asks.
pub(crate) struct Names {
    hosts: PathBuf,
    resolver: PathBuf,
}

impl Names {
    /// Takes the place of the machine's own files. `folder` holds the new ones, which are empty.
    pub(crate) fn new(folder: &Path) -> Self {
        let names = Self { hosts: folder.join("hosts"), resolver: folder.join("resolv.conf") };
        let order = folder.join("nsswitch.conf");
        fs::write(&order, "hosts: files dns\n").unwrap();
        fs::write(&names.resolver, "").unwrap();
        names.set(&[]);
        for (file, path) in [
            (&names.hosts, "/etc/hosts"),
            (&names.resolver, "/etc/resolv.conf"),
            (&order, "/etc/nsswitch.conf"),
        ] {
            mount(&["--bind", file.to_str().unwrap(), path]);
        }
        // A daemon that looks names up for the whole machine would not see these files.
        if Path::new("/run/nscd").exists() {
            mount(&["-t", "tmpfs", "none", "/run/nscd"]);
        }
        names
    }

    /// All names in `/etc/hosts`, in this order.
    pub(crate) fn set(&self, names: &[(IpAddr, &str)]) {
        let lines: String = names.iter().map(|(address, name)| format!("{address} {name}\n")).collect();
        fs::write(&self.hosts, format!("127.0.0.1 localhost\n{lines}")).unwrap();
    }

    /// The whole of `/etc/resolv.conf`.
    pub(crate) fn resolve_by(&self, lines: &str) {
        fs::write(&self.resolver, lines).unwrap();
    }
}

fn mount(arguments: &[&str]) {
    let status = Command::new("mount").args(arguments).status().unwrap();
    assert!(status.success(), "mount {arguments:?}: {status}");
}
