//! Token and client certificate are replaced while the agent runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustix::process::Signal;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::rig::{AgentProcess, Fleet, HOST, TOKEN, eventually, lives};

/// The token after the first one.
const NEXT_TOKEN: &str = "next-test-token";

/// Starts an agent with this command line, whose log is a file. It gets SIGHUP, also where the tests were started by
/// `nohup`, which makes every process ignore it.
fn start(fleet: &Fleet, agent: &Command) -> AgentProcess {
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP").arg(agent.get_program()).args(agent.get_args());
    let mut command = with_environment_of(command, agent);
    command.stderr(fs::File::create(fleet.path("log")).unwrap());
    AgentProcess::spawn(command, fleet.path("state"))
}

fn with_environment_of(mut command: Command, other: &Command) -> Command {
    for (name, value) in other.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

async fn logged(fleet: &Fleet, words: &str) {
    let log = || fs::read_to_string(fleet.path("log")).unwrap();
    eventually(words, || log().contains(words).then_some(())).await;
    assert!(!log().contains(TOKEN), "{}", log());
}

/// Waits for a heartbeat on this connection.
async fn beat(fleet: &Fleet, connection: u64) {
    let beats = |fleet: &Fleet| {
        let last = fleet.messages().pop()?;
        let is_beat = matches!(last.message, nixfleet_protocol::AgentMessage::Heartbeat(_));
        (is_beat && last.connection >= connection).then_some(last.connection)
    };
    assert_eq!(fleet.wait("a beat on a connection", beats).await, connection);
}

fn with_token_file(fleet: &Fleet) -> (Command, PathBuf) {
    let file = fleet.path("token");
    fs::write(&file, TOKEN).unwrap();
    let mut command = fleet.agent_command();
    command.env_remove("NIXFLEET_TOKEN").env("NIXFLEET_TOKEN_FILE", &file);
    (command, file)
}

#[tokio::test]
async fn sighup_brings_a_new_token_to_a_connected_agent_and_its_command_goes_on() {
    let waits = "seq 1 500; while [ ! -e \"$GATE\" ]; do sleep 0.05; done; seq 501 1000";
    let fleet = Fleet::strict().await.script("long", waits);
    let (mut command, file) = with_token_file(&fleet);
    command.env("GATE", fleet.path("gate"));
    let agent = start(&fleet, &command);
    beat(&fleet, 1).await;
    fleet.send("long");
    let pid = fleet.running("long").await;

    fs::write(&file, NEXT_TOKEN).unwrap();
    fleet.dashboard.set_token(NEXT_TOKEN);
    agent.signal(Signal::HUP);
    beat(&fleet, 2).await;
    logged(&fleet, "new token; connecting anew").await;
    assert_eq!(fleet.running("long").await, pid);
    assert!(lives(pid));
    fs::write(fleet.path("gate"), "").unwrap();
    assert_eq!(fleet.ended("long").await.lines, Some(1000));
    let lines: Vec<String> = fleet.lines().into_iter().map(|(_, line, _)| line).collect();
    assert_eq!(lines, (1..=1000).map(|number| number.to_string()).collect::<Vec<_>>());
    fleet.assert_no_violations();
}

#[tokio::test]
async fn sighup_without_a_change_keeps_the_connection() {
    let fleet = Fleet::strict().await;
    let (command, file) = with_token_file(&fleet);
    let agent = start(&fleet, &command);
    beat(&fleet, 1).await;
    agent.signal(Signal::HUP);
    logged(&fleet, "nothing has changed, and the connection stays").await;

    // Neither a token that the dashboard does not know nor a file that is not there for a moment ends the connection.
    fs::write(&file, NEXT_TOKEN).unwrap();
    agent.signal(Signal::HUP);
    logged(&fleet, "no connection with the new token: the dashboard refused the token (401)").await;
    fs::remove_file(&file).unwrap();
    agent.signal(Signal::HUP);
    logged(&fleet, "No such file or directory").await;
    logged(&fleet, "The connection stays").await;
    beat(&fleet, 1).await;
    assert_eq!(fleet.dashboard.connections(HOST), 1);
    fleet.assert_no_violations();
}

#[tokio::test]
async fn sighup_brings_the_right_token_to_an_agent_that_was_refused() {
    let fleet = Fleet::strict().await;
    fleet.dashboard.set_token(NEXT_TOKEN);
    let (command, file) = with_token_file(&fleet);
    let agent = start(&fleet, &command);
    logged(&fleet, "the dashboard refused the token (401)").await;
    fs::write(&file, NEXT_TOKEN).unwrap();
    agent.signal(Signal::HUP);
    logged(&fleet, "which each attempt to connect does").await;
    let beats = fleet.wait("two beats", |fleet| (fleet.beats().len() >= 2).then(|| fleet.beats())).await;
    // The first one says why the host was away, and no other.
    let why = beats[0].1.last_error.as_ref().unwrap();
    assert!(why.text.starts_with("the dashboard refused the token (401)"), "{why:?}");
    assert_eq!(beats[1].1.last_error, None);
    fleet.assert_no_violations();
}

#[tokio::test]
async fn an_agent_that_nohup_started_ignores_sighup() {
    let fleet = Fleet::start().await;
    let (command, _) = with_token_file(&fleet);
    let mut ignoring = Command::new("env");
    ignoring.arg("--ignore-signal=HUP").arg(command.get_program());
    let agent = start(&fleet, &with_environment_of(ignoring, &command));
    beat(&fleet, 1).await;
    agent.signal(Signal::HUP);
    let before = fleet.beats().len();
    fleet.wait("more beats", |fleet| (fleet.beats().len() >= before + 2).then_some(())).await;
    let log = fs::read_to_string(fleet.path("log")).unwrap();
    assert!(!log.contains("Asked to read"), "{log}");
}

/// An authority for hosts.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate and its key, valid from `before` ago for `left`.
    fn issue(
        &self,
        purpose: ExtendedKeyUsagePurpose,
        before: Duration,
        left: Duration,
    ) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let now = rcgen::date_time_ymd(1970, 1, 1)
            + SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        (params.not_before, params.not_after) = (now - before, now + left);
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

/// A fleet whose dashboard lets in only hosts with a certificate, and the certificates that came.
struct Guarded {
    fleet: Fleet,
    authority: Authority,
    came: Arc<Mutex<Vec<CertificateDer<'static>>>>,
    command: Command,
    file: PathBuf,
}

impl Guarded {
    async fn new() -> Self {
        let fleet = Fleet::strict().await;
        let authority = Authority::new();
        let (made, key) = authority.issue(ExtendedKeyUsagePurpose::ServerAuth, Duration::ZERO, DAY);
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = crate::tls::config(Some(&authority.pem), vec![made.der().clone()], key);
        let came = Arc::<Mutex<Vec<_>>>::default();
        let notes = Arc::clone(&came);
        let port =
            crate::tls::terminate(&fleet, config, move |client| notes.lock().unwrap().push(client)).await;
        let (ca_file, file) = (fleet.path("ca.pem"), fleet.path("client.pem"));
        fs::write(&ca_file, &authority.pem).unwrap();
        let mut command = fleet.agent_command();
        command.env("NIXFLEET_URL", format!("wss://localhost:{port}/ws")).env("NIXFLEET_CA_FILE", ca_file);
        command.env("NIXFLEET_CLIENT_CERT", &file).env("NIXFLEET_CLIENT_KEY", &file);
        Self { fleet, authority, came, command, file }
    }

    /// Writes another client certificate, in one step.
    fn replace(&self, before: Duration, left: Duration) -> CertificateDer<'static> {
        self.replace_by(&self.authority, before, left)
    }

    /// The same, from this authority.
    fn replace_by(&self, authority: &Authority, before: Duration, left: Duration) -> CertificateDer<'static> {
        let (made, key) = authority.issue(ExtendedKeyUsagePurpose::ClientAuth, before, left);
        let new = self.fleet.path("new.pem");
        fs::write(&new, format!("{}{}", made.pem(), key.serialize_pem())).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(&new, &self.file).unwrap();
        made.der().clone()
    }
}

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test]
async fn sighup_brings_a_new_client_certificate() {
    let guarded = Guarded::new().await;
    let first = guarded.replace(Duration::ZERO, DAY);
    let agent = start(&guarded.fleet, &guarded.command);
    beat(&guarded.fleet, 1).await;
    let second = guarded.replace(Duration::ZERO, DAY);
    agent.signal(Signal::HUP);
    beat(&guarded.fleet, 2).await;
    logged(&guarded.fleet, "new client certificate; connecting anew").await;
    // The new one was tried out before.
    assert_eq!(*guarded.came.lock().unwrap(), [first, second.clone(), second]);
    guarded.fleet.assert_no_violations();
}

#[tokio::test]
async fn a_client_certificate_that_is_wrong_ends_no_connection() {
    let guarded = Guarded::new().await;
    guarded.replace(Duration::ZERO, DAY);
    let agent = start(&guarded.fleet, &guarded.command);
    beat(&guarded.fleet, 1).await;
    guarded.replace_by(&Authority::new(), Duration::ZERO, DAY);
    agent.signal(Signal::HUP);
    logged(&guarded.fleet, "no connection with the new client certificate: the dashboard").await;
    logged(&guarded.fleet, "The connection stays.").await;
    beat(&guarded.fleet, 1).await;
    assert_eq!(guarded.fleet.dashboard.connections(HOST), 1);
    guarded.fleet.assert_no_violations();
}

#[tokio::test]
async fn sighup_brings_another_authority() {
    let guarded = Guarded::new().await;
    guarded.replace(Duration::ZERO, DAY);
    let agent = start(&guarded.fleet, &guarded.command);
    beat(&guarded.fleet, 1).await;
    let both = format!("{}{}", guarded.authority.pem, Authority::new().pem);
    fs::write(guarded.fleet.path("ca.pem"), both).unwrap();
    agent.signal(Signal::HUP);
    beat(&guarded.fleet, 2).await;
    logged(&guarded.fleet, "new trusted certificates; connecting anew").await;
    guarded.fleet.assert_no_violations();
}

#[tokio::test]
async fn a_connection_is_made_anew_before_its_client_certificate_ends() {
    const LEFT: Duration = Duration::from_secs(8);
    let guarded = Guarded::new().await;
    let first = guarded.replace(4 * SECOND, LEFT);
    let begun = std::time::Instant::now();
    let _agent = start(&guarded.fleet, &guarded.command);
    beat(&guarded.fleet, 1).await;
    let second = guarded.replace(Duration::ZERO, DAY);
    logged(&guarded.fleet, "The client certificate of this connection ends soon").await;
    beat(&guarded.fleet, 2).await;
    assert_eq!(*guarded.came.lock().unwrap(), [first, second.clone(), second]);
    assert!(begun.elapsed() > LEFT / 2, "only near its end");
    guarded.fleet.assert_no_violations();
}
