//! `wss://` with a private certificate authority.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use nixfleet_agent::dial::failure::rows::{HOST as EXAMPLE, rows};
use nixfleet_protocol::AgentMessage;

use crate::rig::{AgentProcess, Fleet, eventually};
use crate::skipped::skipped_unless;

/// Set where a skip is a failure: in CI, where nobody reads it.
const REQUIRED: &str = "NIXFLEET_REQUIRE_OPENSSL_TEST";

/// A TLS terminator in front of the dashboard. Returns its port and the certificate of its authority.
pub(crate) async fn terminator(fleet: &Fleet) -> (u16, String) {
    terminator_with(fleet, rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap()).await
}

/// The same with a given certificate.
pub(crate) async fn terminator_with(
    fleet: &Fleet,
    made: rcgen::CertifiedKey<rcgen::KeyPair>,
) -> (u16, String) {
    let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).unwrap();
    let config = config(None, vec![made.cert.der().clone()], key);
    (terminate(fleet, config, |_| {}).await, made.cert.pem())
}

/// What a server with this certificate needs. With `clients`, an authority in PEM, it lets in only clients with a
/// certificate of that.
pub(crate) fn config(
    clients: Option<&str>,
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
        None => builder.with_no_client_auth(),
    };
    builder.with_single_cert(certificates, key).unwrap()
}

/// Ends TLS in front of the dashboard; `seen` gets the certificate of each client that has one. Returns the port.
pub(crate) async fn terminate(
    fleet: &Fleet,
    config: ServerConfig,
    seen: impl Fn(CertificateDer<'static>) + Clone + Send + 'static,
) -> u16 {
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let backend = fleet.dashboard_address().to_string();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, backend, seen) = (acceptor.clone(), backend.clone(), seen.clone());
            tokio::spawn(async move {
                // One test connects without trusting the certificate.
                let Ok(tls) = acceptor.accept(tcp).await else { return };
                if let Some(client) = tls.get_ref().1.peer_certificates().and_then(<[_]>::first) {
                    seen(client.clone().into_owned());
                }
                pipe(tls, &backend).await;
            });
        }
    });
    port
}

async fn pipe(mut tls: impl AsyncRead + AsyncWrite + Unpin, backend: &str) {
    let mut plain = TcpStream::connect(backend).await.unwrap();
    drop(copy_bidirectional(&mut tls, &mut plain).await);
}

#[tokio::test]
async fn wss_works_with_a_ca_file_and_is_refused_without() {
    let fleet = Fleet::start().await.script("hello", "seq 1 50000");
    let (port, authority) = terminator(&fleet).await;
    let ca_file = fleet.path("ca.pem");
    fs::write(&ca_file, authority).unwrap();
    let agent = |with_ca: bool| {
        let mut command = fleet.agent_command();
        command.env("NIXFLEET_URL", format!("wss://localhost:{port}/ws"));
        if with_ca {
            command.env("NIXFLEET_CA_FILE", &ca_file);
        }
        command.stderr(fs::File::create(fleet.path("log")).unwrap());
        AgentProcess::spawn(command, fleet.path("state"))
    };
    let stranger = agent(false);
    eventually("the refusal", || {
        let text = fs::read_to_string(fleet.path("log")).unwrap_or_default();
        (text.contains("certificate")).then_some(())
    })
    .await;
    drop(stranger);
    assert!(fleet.messages().is_empty());

    let _friend = agent(true);
    fleet.wait("a beat", |fleet| fleet.beats().pop()).await;
    assert!(matches!(fleet.messages()[0].message, AgentMessage::Register(_)));
    assert_eq!(fleet.run("hello").await.lines, Some(50_000));
    assert_eq!(fleet.lines().len(), 50_000);
}

#[tokio::test]
async fn the_certificate_that_the_advice_makes_is_accepted() {
    let row = rows().into_iter().find(|row| row.name == "authority_as_server").unwrap();
    let (_, advice) = row.example.parts();
    let (_, command) = advice.split_once(": openssl ").unwrap();
    let command = format!("openssl {}", command.replace(EXAMPLE, "localhost"));
    let fleet = Fleet::strict().await;
    if Command::new("openssl").arg("version").output().is_err() {
        return skipped_unless(REQUIRED, "there is no openssl here");
    }
    let made = Command::new("sh").args(["-c", &command]).current_dir(fleet.folder.path()).output().unwrap();
    assert!(made.status.success(), "{command}: {}", String::from_utf8_lossy(&made.stderr));
    let read = |name: &str| fs::read(fleet.path(name)).unwrap();
    let certificate = CertificateDer::from_pem_slice(&read("cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(&read("key.pem")).unwrap();
    let port = terminate(&fleet, config(None, vec![certificate], key), |_| {}).await;
    let mut command = fleet.agent_command();
    command.env("NIXFLEET_URL", format!("wss://localhost:{port}/ws"));
    command.env("NIXFLEET_CA_FILE", fleet.path("cert.pem"));
    let _agent = AgentProcess::spawn(command, fleet.path("state"));
    fleet.wait("a beat", |fleet| fleet.beats().pop()).await;
    fleet.assert_no_violations();
}
