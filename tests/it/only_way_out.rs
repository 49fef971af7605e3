//! A host whose only way out is a proxy: it has no route but to its own link, and no name server.
//!
//! ```text
//! agent ---veth--- proxy, dashboard
//! its own network and names   those of the test
//! ```

#![cfg(target_os = "linux")]

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command, Stdio};

use crate::namespace::{Names, ip, is_inside};
use crate::proxy::{finding, free_port, has};
use crate::real_proxy::{Server, start};
use crate::rig::{AgentProcess, Fleet, eventually};
use crate::tls::terminator_with;

/// A name that only the proxy can look up.
const NAME: &str = "dash.invalid";

/// The proxy's side of the link.
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 99, 0, 1));

/// An address to which the host has no route (RFC 5737).
const FAR: &str = "192.0.2.7";

/// Namespaces that live as long as a process in them.
struct Host(Child);

impl Host {
    /// A host on a link with this one. Its names are those that this one has now.
    async fn new() -> Self {
        let mut sleep = Command::new("unshare");
        sleep.args(["--net", "--mount", "--", "sleep", "infinity"]).stdin(Stdio::null());
        let host = Self(sleep.spawn().unwrap());
        let comm = format!("/proc/{}/comm", host.0.id());
        // It has its namespaces when it executes the program.
        let ready = || fs::read_to_string(&comm).is_ok_and(|name| name == "sleep\n").then_some(());
        eventually("a host", ready).await;
        ip(&format!("link add outside type veth peer name inside netns {}", host.0.id()));
        ip(&format!("address add {PROXY}/24 dev outside"));
        ip("link set outside up");
        for arguments in ["link set lo up", "address add 10.99.0.2/24 dev inside", "link set inside up"] {
            let mut command = Command::new("ip");
            let status = host.run(command.args(arguments.split(' '))).status().unwrap();
            assert!(status.success(), "ip {arguments} on the host: {status}");
        }
        host
    }

    /// The same program on this host.
    fn run(&self, command: &Command) -> Command {
        let namespace = |name: &str| format!("/proc/{}/ns/{name}", self.0.id());
        let mut on_host = Command::new("nsenter");
        on_host.arg(format!("--net={}", namespace("net"))).arg(format!("--mount={}", namespace("mnt")));
        on_host.arg("--").arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => on_host.env(name, value),
                None => on_host.env_remove(name),
            };
        }
        on_host
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A dashboard with TLS, and a host that has no way to it.
struct Site {
    fleet: Fleet,
    host: Host,
    url: String,
}

impl Site {
    async fn new() -> Self {
        let fleet = Fleet::strict().await;
        let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
        let (port, authority) = terminator_with(&fleet, made).await;
        fs::write(fleet.path("ca.pem"), authority).unwrap();
        let names = |folder: &str| {
            fs::create_dir(fleet.path(folder)).unwrap();
            Names::new(&fleet.path(folder))
        };
        names("names of the host");
        let host = Host::new().await;
        names("names of the proxy").set(&[(IpAddr::V4(Ipv4Addr::LOCALHOST), NAME)]);
        Self { fleet, host, url: format!("wss://{NAME}:{port}/ws") }
    }

    fn command(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Command {
        let mut command = self.fleet.agent_command();
        command.env("NIXFLEET_URL", &self.url).env("NIXFLEET_CA_FILE", self.fleet.path("ca.pem"));
        command.env("NIXFLEET_VITALS__ENABLED", "false");
        self.host.run(command.envs(variables.iter().copied()).args(arguments))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.fleet.path("log")).unwrap()
    }

    fn agent(&self, variables: &[(&str, &str)]) -> AgentProcess {
        let mut command = self.command(variables, &[]);
        command.stderr(fs::File::create(self.fleet.path("log")).unwrap());
        AgentProcess::spawn(command, self.fleet.path("state"))
    }

    #[expect(clippy::disallowed_methods, reason = "a test fails without a thread")]
    async fn doctor(&self, variables: &[(&str, &str)]) -> String {
        let mut command = self.command(variables, &["doctor", "--json"]);
        // The dashboard runs in this process and must answer in the meantime.
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Without a proxy it fails and says so; with each of these variables it connects.
    async fn only_through(&self, address: &str, variables: &[&str]) {
        let direct = self.agent(&[]);
        let wanted = format!("Not connected: no name server answered the question for {NAME}");
        eventually(&wanted, || self.log().contains(&wanted).then_some(())).await;
        drop(direct);
        let far = format!("wss://{FAR}/ws");
        let direct = self.agent(&[("NIXFLEET_URL", &far)]);
        let wanted = format!("Not connected: cannot reach {FAR}:443: Network is unreachable");
        eventually(&wanted, || self.log().contains(&wanted).then_some(())).await;
        has(&self.log(), &["; this host has no way there: check its network"]);
        drop(direct);
        let document = self.doctor(&[]).await;
        has(&finding(&document, "proxy"), &["\"skipped\"", "no proxy is set"]);
        has(
            &finding(&document, "dns"),
            &["\"fail\"", &format!("no name server answered the question for {NAME}")],
        );
        assert!(self.fleet.messages().is_empty());

        for variable in variables {
            let variables = [(*variable, address)];
            let before = self.fleet.beats().len();
            let agent = self.agent(&variables);
            self.fleet.wait("a beat", |fleet| (fleet.beats().len() > before).then_some(())).await;
            eventually("the registration", || self.log().contains("Registered").then_some(())).await;
            drop(agent);
            let document = self.doctor(&variables).await;
            has(&finding(&document, "proxy"), &["\"ok\"", address, variable]);
            has(&finding(&document, "token"), &["\"ok\""]);
        }
        self.fleet.assert_no_violations();
    }

    async fn start(&self, program: &str, arguments: &[&str], port: u16) -> Option<Server> {
        start(program, arguments, (PROXY, port), &self.fleet.path("output")).await
    }
}

#[tokio::test]
async fn an_http_proxy_is_the_only_way_out() {
    if !is_inside("only_way_out::an_http_proxy_is_the_only_way_out") {
        return;
    }
    let (site, port) = (Site::new().await, free_port());
    let settings = site.fleet.path("tinyproxy.conf");
    fs::write(&settings, format!("Port {port}\nListen {PROXY}\nMaxClients 20\n")).unwrap();
    let arguments = ["-d", "-c", settings.to_str().unwrap()];
    let Some(_server) = site.start("tinyproxy", &arguments, port).await else { return };
    site.only_through(&format!("http://{PROXY}:{port}"), &["NIXFLEET_PROXY", "HTTPS_PROXY", "ALL_PROXY"])
        .await;
}

#[tokio::test]
async fn a_socks_proxy_is_the_only_way_out() {
    if !is_inside("only_way_out::a_socks_proxy_is_the_only_way_out") {
        return;
    }
    let (site, port) = (Site::new().await, free_port());
    let arguments = ["-i", &PROXY.to_string(), "-p", &port.to_string()];
    let Some(_server) = site.start("microsocks", &arguments, port).await else { return };
    site.only_through(&format!("socks5h://{PROXY}:{port}"), &["NIXFLEET_PROXY", "HTTPS_PROXY", "ALL_PROXY"])
        .await;
}
