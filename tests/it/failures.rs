//! Each reason for which there is no connection, from a real socket: log, `status` and `doctor` say it in the words of
//! docs/connecting.md.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use nixfleet_agent::dial::failure::rows::{CLOCK, HOST as EXAMPLE, rows};

use crate::rig::{AgentProcess, Fleet, eventually};

#[cfg(target_os = "linux")]
mod namespaced;

/// What the agent is to connect to.
struct Scene {
    url: String,
    /// The file of NIXFLEET_CA_FILE, in PEM.
    trusted: String,
    /// What this scene has in place of what the example has.
    replaced: Vec<(&'static str, String)>,
    /// The step of `doctor` that fails, if it uses the same words.
    step: Option<&'static str>,
    /// The certificate and the key of the client, in one file in PEM; none without a text.
    client: String,
}

fn scene(url: String, trusted: &str, step: Option<&'static str>) -> Scene {
    let replaced = vec![(EXAMPLE, "localhost".to_owned())];
    Scene { url, trusted: trusted.to_owned(), replaced, step, client: String::new() }
}

/// A message with the clock of the example in place of this host's.
fn with_the_examples_clock(text: &str) -> String {
    const BEFORE: &str = "the clock here says ";
    match text.split_once(BEFORE) {
        Some((head, tail)) => format!("{head}{BEFORE}{CLOCK}{}", tail.get(CLOCK.len()..).unwrap_or_default()),
        None => text.to_owned(),
    }
}

async fn check(name: &str, scene: Scene) {
    let row = rows().into_iter().find(|row| row.name == name).unwrap_or_else(|| panic!("no row {name}"));
    let wanted =
        scene.replaced.iter().fold(row.example.to_string(), |text, (from, to)| text.replace(from, to));
    let fleet = Fleet::start().await;
    let ca_file = fleet.path("ca.pem");
    if !scene.trusted.is_empty() {
        fs::write(&ca_file, &scene.trusted).unwrap();
    }
    let client = fleet.path("client.pem");
    if !scene.client.is_empty() {
        fs::write(&client, &scene.client).unwrap();
        fs::set_permissions(&client, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let agent_command = || {
        let mut command = fleet.agent_command();
        command.env("NIXFLEET_URL", &scene.url).env("NIXFLEET_VITALS__ENABLED", "false");
        command.env("NIXFLEET_PATHS__STATUS", fleet.path("state/agent/status.sock"));
        if !scene.trusted.is_empty() {
            command.env("NIXFLEET_CA_FILE", &ca_file);
        }
        if !scene.client.is_empty() {
            command.env("NIXFLEET_CLIENT_CERT", &client).env("NIXFLEET_CLIENT_KEY", &client);
        }
        command
    };
    let mut command = agent_command();
    command.stderr(fs::File::create(fleet.path("log")).unwrap());
    let _agent = AgentProcess::spawn(command, fleet.path("state"));
    let line = eventually("a failed attempt", || {
        let log = fs::read_to_string(fleet.path("log")).unwrap();
        let line =
            log.split_inclusive('\n').find(|line| line.contains("Not connected: ") && line.ends_with('\n'));
        line.map(str::to_owned)
    })
    .await;
    let line = with_the_examples_clock(&line);
    assert!(line.contains(&format!("Not connected: {wanted}.")), "wanted: {wanted}\nfound:  {line}");
    let run = async |argument: &str| -> Value {
        let mut command = agent_command();
        command.args([argument, "--json"]);
        serde_json::from_slice(&crate::doctor::run(command).await.stdout).unwrap()
    };
    let report = run("status").await;
    let said = with_the_examples_clock(report["connection"]["last_error"].as_str().unwrap());
    assert_eq!(said, wanted, "status");
    if let Some(step) = scene.step {
        let found = run("doctor").await;
        let checks = found["checks"].as_array().unwrap();
        let found = checks.iter().find(|check| check["check"] == step).unwrap();
        let said = format!("{}; {}", found["text"].as_str().unwrap(), found["fix"].as_str().unwrap());
        assert_eq!(with_the_examples_clock(&said), wanted, "doctor: {found}");
    }
}

/// A server that sends this, once it has heard something, and closes the connection.
async fn answering(bytes: &[u8]) -> u16 {
    let bytes = bytes.to_vec();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let bytes = bytes.clone();
            tokio::spawn(async move {
                let mut request = [0; 8192];
                drop(tcp.read(&mut request).await);
                drop(tcp.write_all(&bytes).await);
                drop(tcp.shutdown().await);
                // Closing with unread bytes would reset the connection.
                while tcp.read(&mut request).await.is_ok_and(|count| count > 0) {}
            });
        }
    });
    port
}

async fn http(head: &str, body: &str) -> Scene {
    let answer = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let port = answering(answer.as_bytes()).await;
    scene(format!("ws://localhost:{port}/ws"), "", Some("token"))
}

/// A server that answers the begin of a handshake with these bytes.
async fn no_handshake(bytes: &[u8]) -> Scene {
    let port = answering(bytes).await;
    scene(format!("wss://localhost:{port}/ws"), "", Some("tls"))
}

/// A record of TLS with a fatal alert.
async fn alert(number: u8) -> Scene {
    no_handshake(&[0x15, 3, 3, 0, 2, 2, number]).await
}

/// A server with this certificate.
async fn tls(certificate: CertificateDer<'static>, key: &KeyPair, trusted: &str) -> Scene {
    serving(certificate, key, trusted, None).await
}

/// The same, which lets in only clients with a certificate of `clients`, if that is given.
async fn serving(
    certificate: CertificateDer<'static>,
    key: &KeyPair,
    trusted: &str,
    clients: Option<&str>,
) -> Scene {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = crate::tls::config(clients, vec![certificate], key);
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move { drop(acceptor.accept(tcp).await) });
        }
    });
    scene(format!("wss://localhost:{port}/ws"), trusted, Some("tls"))
}

fn params(host: Option<&str>, common: &str) -> CertificateParams {
    let names: Vec<String> = host.map(str::to_owned).into_iter().collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common);
    params
}

/// An authority: what issues, and its certificate in PEM.
fn authority() -> (Issuer<'static, KeyPair>, String) {
    authority_of("Fleet CA")
}

fn authority_of(name: &str) -> (Issuer<'static, KeyPair>, String) {
    let mut params = params(None, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), pem)
}

/// A server whose certificate an authority has issued, for an agent that trusts an authority.
async fn issued(params: CertificateParams, trusts_it: bool, trusts_its_twin: bool) -> Scene {
    let (issuer, pem) = authority();
    let trusted = match (trusts_it, trusts_its_twin) {
        (true, _) => pem,
        (false, true) => authority().1,
        (false, false) => String::new(),
    };
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    tls(certificate.der().clone(), &key, &trusted).await
}

async fn own(params: CertificateParams) -> Scene {
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    tls(certificate.der().clone(), &key, "").await
}

fn ending(year: i32, begin: i32) -> CertificateParams {
    let mut params = params(Some("localhost"), "localhost");
    params.not_before = rcgen::date_time_ymd(begin, 1, 1);
    params.not_after = rcgen::date_time_ymd(year, 1, 31);
    params
}

async fn authority_as_server() -> Scene {
    let mut params = params(Some("localhost"), "localhost");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    own(params).await
}

async fn other_purpose() -> Scene {
    let mut params = params(Some("localhost"), "localhost");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    issued(params, true, false).await
}

/// A server for clients of an authority, with a client that has what `client` makes of it, if that is given.
async fn for_clients(client: Option<(CertificateParams, bool)>) -> Scene {
    let (issuer, authority_pem) = authority();
    let key = KeyPair::generate().unwrap();
    let certificate = params(Some("localhost"), "localhost").signed_by(&key, &issuer).unwrap();
    let mut scene = serving(certificate.der().clone(), &key, &authority_pem, Some(&authority_pem)).await;
    if let Some((params, is_known)) = client {
        let key = KeyPair::generate().unwrap();
        let issuer = if is_known { issuer } else { authority_of("Other CA").0 };
        let made = params.signed_by(&key, &issuer).unwrap();
        scene.client = format!("{}{}", made.pem(), key.serialize_pem());
    }
    scene
}

fn client(purpose: ExtendedKeyUsagePurpose, ending: i32) -> CertificateParams {
    let mut params = params(Some("test-host"), "test-host");
    params.not_after = rcgen::date_time_ymd(ending, 1, 31);
    params.extended_key_usages = vec![purpose];
    params
}

async fn refused() -> Scene {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut scene = scene(format!("ws://{address}/ws"), "", None);
    // The address of the example has the same port.
    scene.replaced =
        vec![("dash.example.org:443", address.to_string()), ("192.0.2.7:443", address.to_string())];
    scene
}

async fn silent(scheme: &str) -> Scene {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((tcp, _)) = listener.accept().await {
            held.push(tcp);
        }
    });
    scene(format!("{scheme}://localhost:{port}/ws"), "", None)
}

const HTML: &str = "Content-Type: text/html";

macro_rules! tests {
    ($($name:ident => $scene:expr;)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                check(stringify!($name), $scene.await).await;
            }
        )*

        #[test]
        fn every_row_has_a_test() {
            let tested = [$(stringify!($name)),*];
            for row in rows() {
                assert_ne!(tested.contains(&row.name), namespaced::TESTED.contains(&row.name), "{}", row.name);
            }
        }
    };
}

mod each {
    use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};

    use super::*;

    tests! {
        refused => super::refused();
        silent => super::silent("ws");
        silent_handshake => super::silent("wss");
        expired => issued(ending(2020, 2000), true, false);
        not_yet_valid => issued(ending(2100, 2099), true, false);
        other_name => issued(params(Some("fleet.example.org"), "x"), true, false);
        no_alt_name => issued(params(None, "localhost"), true, false);
        unknown_issuer => issued(params(Some("localhost"), "localhost"), false, false);
        self_signed => async {
            // A machine may trust a certificate for `localhost` of its own.
            let scene = own(params(Some("localhost"), "of this test")).await;
            let subject = ("(CN=dash.example.org)", "(CN=of this test)".to_owned());
            Scene { replaced: [vec![subject], scene.replaced].concat(), ..scene }
        };
        authority_as_server => super::authority_as_server();
        other_key => issued(params(Some("localhost"), "localhost"), false, true);
        other_purpose => super::other_purpose();
        alert_unknown_host => alert(112);
        client_certificate_missing => for_clients(None);
        client_certificate_expired => for_clients(Some((client(ClientAuth, 2020), true)));
        client_certificate_of_other_authority => for_clients(Some((client(ClientAuth, 2100), false)));
        client_certificate_refused => for_clients(Some((client(ServerAuth, 2100), true)));
        nothing_in_common => alert(40);
        alert_other => alert(80);
        plain_http => no_handshake(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        not_tls => no_handshake(b"SSH-2.0-OpenSSH_9.6\r\n");
        ended_in_handshake => no_handshake(b"");
        tls_on_plain_port => async {
            let port = answering(&[0x15, 3, 3, 0, 2, 2, 10]).await;
            scene(format!("ws://localhost:{port}/ws"), "", Some("token"))
        };
        https_port => http(
            &format!("400 Bad Request\r\n{HTML}"),
            "<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>"
        );
        closed_without_answer => async {
            let port = answering(b"").await;
            scene(format!("ws://localhost:{port}/ws"), "", Some("token"))
        };
        portal => http(&format!("200 OK\r\n{HTML}"), "<html><title>Guest network</title></html>");
        bad_request => http("400 Bad Request", "");
        wrong_token => http("401 Unauthorized", "");
        wrong_token_or_clock => async {
            let scene = http("401 Unauthorized\r\nDate: Fri, 27 Nov 2099 10:31:00 GMT", "").await;
            let theirs = ("2026-11-27 10:31 UTC", "2099-11-27 10:31 UTC".to_owned());
            Scene { replaced: [vec![theirs], scene.replaced].concat(), ..scene }
        };
        forbidden => http("403 Forbidden", "");
        no_such_path => http("404 Not Found", "");
        proxy_login => http("407 Proxy Authentication Required", "");
        other_host => http("421 Misdirected Request", "");
        no_upgrade => http("426 Upgrade Required", "");
        too_many_requests => http("429 Too Many Requests", "");
        dashboard_failed => http("500 Internal Server Error", "");
        bad_gateway => http("502 Bad Gateway", "");
        unavailable => http("503 Service Unavailable", "");
        gateway_timeout => http("504 Gateway Timeout", "");
        redirect_elsewhere => http("302 Found\r\nLocation: https://login.example.net/", "");
    }
}
