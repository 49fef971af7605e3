//! Connections through real proxies, if they are installed (Debian: tinyproxy-bin, squid, microsocks).

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::proxy::{agent, finding, free_port, has, log, online, printed};
use crate::rig::{Fleet, eventually};
use crate::skipped::skipped;

/// Where they listen, for agents of the same host.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A server that ends with the test.
pub(crate) struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Starts a program, and waits until it listens there; none if it is not installed.
pub(crate) async fn start(
    program: &str,
    arguments: &[&str],
    place: (IpAddr, u16),
    output: &Path,
) -> Option<Server> {
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/bin"];
    let Some(path) = places.iter().map(|place| Path::new(place).join(program)).find(|path| path.exists())
    else {
        skipped(&format!("{program} is not installed (Debian: tinyproxy-bin, squid, microsocks)"));
        return None;
    };
    let file = || fs::File::options().create(true).append(true).open(output).unwrap();
    let mut command = Command::new(path);
    command.args(arguments).stdin(Stdio::null()).stdout(file()).stderr(file());
    let mut server = Server(command.spawn().unwrap());
    eventually(program, || {
        let ended = server.0.try_wait().unwrap();
        assert!(ended.is_none(), "{program}: {}", fs::read_to_string(output).unwrap());
        std::net::TcpStream::connect(place).ok()
    })
    .await;
    Some(server)
}

/// The agent reaches the dashboard through this proxy with a login from a file, which may be corrected while it runs.
async fn with_login(fleet: &Fleet, variables: &[(&str, &str)]) {
    let login = fleet.path("login");
    let mut all = variables.to_vec();
    let document = printed(fleet, &["doctor", "--json"], &all).await;
    has(&finding(&document, "proxy"), &["\"fail\"", "asks for a login", ", and none is set"]);
    all.push(("NIXFLEET_PROXY_LOGIN_FILE", login.to_str().unwrap()));
    fs::write(&login, "me:wrong\n").unwrap();
    let _agent = agent(fleet, &all);
    eventually("the refusal", || log(fleet).contains("refused the login from").then_some(())).await;
    assert!(fleet.messages().is_empty());
    fs::write(&login, "me:s3cret\n").unwrap();
    online(fleet, 0).await;
    // The line may be written after the first heartbeat has arrived.
    eventually("the registration", || log(fleet).contains("Registered").then_some(())).await;
    has(&log(fleet), &[]);
    let document = printed(fleet, &["doctor", "--json"], &all).await;
    has(&finding(&document, "proxy"), &["\"ok\""]);
    has(&finding(&document, "token"), &["\"ok\""]);
    fleet.assert_no_violations();
}

#[tokio::test]
async fn tinyproxy_with_a_login_leads_to_the_dashboard() {
    let fleet = Fleet::strict().await;
    let port = free_port();
    let settings = fleet.path("tinyproxy.conf");
    fs::write(&settings, format!("Port {port}\nListen 127.0.0.1\nBasicAuth me s3cret\nMaxClients 20\n"))
        .unwrap();
    let arguments = ["-d", "-c", settings.to_str().unwrap()];
    let Some(_server) = start("tinyproxy", &arguments, (HERE, port), &fleet.path("output")).await else {
        return;
    };
    let address = format!("http://127.0.0.1:{port}");
    with_login(&fleet, &[("NIXFLEET_PROXY", &address)]).await;
}

#[tokio::test]
async fn squid_knows_a_name_that_this_host_does_not_and_wants_a_login() {
    let fleet = Fleet::strict().await;
    let (port, folder) = (free_port(), fleet.folder.path());
    let open = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    // Started by root, squid becomes another user.
    open(folder, 0o777);
    fs::write(fleet.path("hosts"), "127.0.0.1 dash.invalid\n").unwrap();
    let helper = fleet.path("helper");
    fs::write(
        &helper,
        "#!/bin/sh\nwhile read -r pair; do [ \"$pair\" = 'me s3cret' ] && echo OK || echo ERR; done\n",
    )
    .unwrap();
    open(&helper, 0o755);
    let at = |name: &str| fleet.path(name).display().to_string();
    let text = format!(
        "http_port 127.0.0.1:{port}\npid_filename none\nhosts_file {}\nauth_param basic program {}\n\
         auth_param basic children 1 startup=1\nacl known proxy_auth REQUIRED\nhttp_access allow known\n\
         http_access deny all\ncache deny all\naccess_log none\ncache_log {}\ncoredump_dir {}\n\
         visible_hostname squid.invalid\nshutdown_lifetime 0 seconds\n",
        at("hosts"),
        at("helper"),
        at("cache.log"),
        folder.display(),
    );
    fs::write(fleet.path("squid.conf"), text).unwrap();
    let settings = at("squid.conf");
    let arguments = ["-N", "-f", &settings];
    let Some(_server) = start("squid", &arguments, (HERE, port), &fleet.path("output")).await else { return };
    let url = format!("ws://dash.invalid:{}/ws", fleet.dashboard_address().port());
    let address = format!("http://127.0.0.1:{port}");
    let variables =
        [("NIXFLEET_URL", url.as_str()), ("NIXFLEET_ALLOW_INSECURE", "1"), ("http_proxy", &address)];
    with_login(&fleet, &variables).await;
    // A dashboard that is away, in squid's words.
    let away = format!("ws://dash.invalid:{}/ws", free_port());
    let login = at("login");
    let variables = [
        ("NIXFLEET_URL", away.as_str()),
        ("NIXFLEET_ALLOW_INSECURE", "1"),
        ("http_proxy", &address),
        ("NIXFLEET_PROXY_LOGIN_FILE", &login),
    ];
    let document = printed(&fleet, &["doctor", "--json"], &variables).await;
    has(
        &finding(&document, "proxy"),
        &["\"fail\"", "does not reach dash.invalid:", "503 Service Unavailable"],
    );
}

#[tokio::test]
async fn microsocks_with_a_login_leads_to_the_dashboard_by_name_and_by_address() {
    let fleet = Fleet::strict().await;
    let port = free_port();
    let given = port.to_string();
    let arguments = ["-i", "127.0.0.1", "-p", &given, "-u", "me", "-P", "s3cret"];
    let Some(_server) = start("microsocks", &arguments, (HERE, port), &fleet.path("output")).await else {
        return;
    };
    let url = fleet.url().replace("127.0.0.1", "localhost");
    let address = format!("socks5h://127.0.0.1:{port}");
    with_login(&fleet, &[("NIXFLEET_URL", &url), ("NIXFLEET_PROXY", &address)]).await;
    // The name has two addresses at least on many hosts, of which one is refused.
    let address = format!("socks5://me:s3cret@127.0.0.1:{port}");
    let variables = [("NIXFLEET_URL", url.as_str()), ("NIXFLEET_PROXY", &address)];
    let document = printed(&fleet, &["doctor", "--json"], &variables).await;
    has(&finding(&document, "token"), &["\"ok\""]);
}
