//! Certificates and tokens at the door, with the real listener. NATS is not reached in these tests, so whoever is let
//! in by TLS is asked to come again.

use std::{fs, io};

use nixfleet_sessions::{Link, Outgoing};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::*;
use crate::figures::Figures;
use crate::health::Gateway;
use crate::listener::{self, Shared};
use crate::places::Places;
use crate::tokens::new_token;

mod certificates;

/// An authority with its certificate.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
}

type Pair = (CertificateDer<'static>, PrivateKeyDer<'static>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let own = params.self_signed(&key).unwrap();
        let (pem, der) = (own.pem(), own.der().clone());
        Self { issuer: Issuer::new(params, key), pem, der }
    }

    fn issue(&self, names: &[&str]) -> (rcgen::Certificate, KeyPair) {
        self.issue_until(names, 4096)
    }

    fn issue_until(&self, names: &[&str], year: i32) -> (rcgen::Certificate, KeyPair) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A client certificate, which expires with the year before.
    fn client(&self, name: &str, year: i32) -> Pair {
        let (certificate, key) = self.issue_until(&[name], year);
        (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }
}

/// A listener with TLS.
struct Scene {
    folder: TempDir,
    /// Issues everything.
    authority: Authority,
    door: Arc<Door>,
    figures: Arc<Figures>,
    address: SocketAddr,
}

impl Scene {
    async fn new(tokens: bool) -> Self {
        Self::with(tokens, false).await
    }

    /// With a list of revoked certificates, if wanted. It is empty.
    async fn with(tokens: bool, list: bool) -> Self {
        let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        let path = |name: &str| folder.path().join(name);
        fs::write(path("tokens"), new_token("web-1").unwrap().line).unwrap();
        fs::write(path("ca"), &authority.pem).unwrap();
        fs::write(path("crl"), authority.revoke(&[])).unwrap();
        present(&folder, authority.issue(&["localhost"]));
        let settings = Settings {
            tokens_file: tokens.then(|| path("tokens")),
            tls: Some(Tls {
                certificate_file: path("certificate"),
                key_file: path("key"),
                client_ca_file: Some(path("ca")),
                client_crl_file: list.then(|| path("crl")),
            }),
            ..Settings::default()
        };
        let door = Arc::new(Door::open(&settings).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let figures = Arc::new(Figures::default());
        let shared = Shared {
            gateway: Gateway::default(),
            figures: Arc::clone(&figures),
            door: Arc::clone(&door),
            places: Places::new(10, Some(2)),
        };
        tokio::spawn(listener::accept(listener, Arc::new(shared)));
        Self { folder, authority, door, figures, address }
    }

    /// A certificate, as one that TLS has let in.
    fn shown(&self, (certificate, _): &Pair) -> Arc<Shown> {
        let clients = self.door.tls().unwrap().clients.unwrap();
        Arc::new(Shown::read(std::slice::from_ref(certificate), &clients).unwrap())
    }

    /// The answer to a request for this path, and the certificate of the gateway. An error is that of TLS.
    async fn get(&self, path: &str, shown: Option<Pair>) -> io::Result<(String, CertificateDer<'static>)> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.unwrap().with_root_certificates(roots);
        let config = match shown {
            Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        let tcp = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let mut tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        let of_gateway = tls.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
        // The gateway closes by itself: who shows nothing keeps no place.
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
        tls.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        tls.read_to_string(&mut answer).await?;
        Ok((answer, of_gateway))
    }
}

/// What the gateway shows to agents.
fn present(folder: &TempDir, (certificate, key): (rcgen::Certificate, KeyPair)) {
    fs::write(folder.path().join("certificate"), certificate.pem()).unwrap();
    fs::write(folder.path().join("key"), key.serialize_pem()).unwrap();
}

#[tokio::test]
async fn a_certificate_of_the_authority_opens_the_door_and_no_other_does() {
    let scene = Scene::new(false).await;
    let (answer, _) = scene.get("/ws", Some(scene.authority.client("web-1", 4096))).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 2"), "{answer}");
    assert!(answer.ends_with("the gateway has not reached NATS yet"), "{answer}");
    assert_eq!(scene.figures.turned_away.get(), 1);
    let (answer, _) = scene.get("/", Some(scene.authority.client("web-1", 4096))).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.ends_with("/ws"), "{answer}");
    assert!(scene.get("/ws", None).await.is_err(), "without a certificate");
    assert!(scene.get("/ws", Some(scene.authority.client("web-1", 2020))).await.is_err(), "an expired one");
    let other = Authority::new().client("web-1", 4096);
    assert!(scene.get("/ws", Some(other)).await.is_err(), "of another authority");
    assert_eq!(scene.figures.turned_away.get(), 1);
}

#[tokio::test]
async fn where_tokens_will_do_no_certificate_is_needed_but_a_wrong_one_is_refused() {
    let scene = Scene::new(true).await;
    assert!(scene.get("/ws", None).await.unwrap().0.starts_with("HTTP/1.1 503 "));
    let other = Authority::new().client("web-1", 4096);
    assert!(scene.get("/ws", Some(other)).await.is_err());
}

#[tokio::test]
async fn a_new_certificate_is_shown_after_a_reload_and_a_broken_one_never() {
    let scene = Scene::new(true).await;
    let first = scene.get("/ws", None).await.unwrap().1;
    let next = scene.authority.issue(&["localhost"]);
    let expected = next.0.der().clone();
    present(&scene.folder, next);
    assert_eq!(scene.get("/ws", None).await.unwrap().1, first, "it was not read yet");
    scene.door.reload(true);
    assert_eq!(scene.get("/ws", None).await.unwrap().1, expected);
    fs::write(scene.folder.path().join("certificate"), "none").unwrap();
    scene.door.reload(true);
    assert_eq!(scene.get("/ws", None).await.unwrap().1, expected);
}

#[tokio::test]
async fn one_address_has_no_more_connections_than_it_may() {
    let scene = Scene::new(true).await;
    let silent = [scene.address; 2].map(TcpStream::connect);
    let silent = futures_util::future::try_join_all(silent).await.unwrap();
    // They are accepted in their order.
    assert!(scene.get("/ws", None).await.is_err());
    assert_eq!(scene.figures.no_room.get(), 1);
    drop(silent);
    // The gateway learns of the end when it reads.
    while scene.get("/ws", None).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn who_shows_a_token_is_judged_by_it_alone() {
    let scene = Scene::new(true).await;
    let token = new_token("db-1").unwrap();
    fs::write(scene.folder.path().join("tokens"), token.line).unwrap();
    scene.door.reload(true);
    let shown = scene.shown(&scene.authority.client("web-1", 4096));
    let headers = |token: &str| {
        let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
        HeaderMap::from_iter([(header::AUTHORIZATION, value)])
    };
    let by_token = scene.door.identity(&headers(&token.secret), Some(&shown)).unwrap();
    assert!(by_token.may_be("db-1") && !by_token.may_be("web-1"));
    assert!(scene.door.identity(&headers("wrong"), Some(&shown)).is_none());
    assert!(scene.door.identity(&HeaderMap::new(), Some(&shown)).unwrap().may_be("web-1"));
    assert!(scene.door.identity(&HeaderMap::new(), None).is_none());
}

#[tokio::test]
async fn a_connection_that_registers_after_its_token_is_gone_is_closed() {
    let scene = Scene::new(true).await;
    let (directory, link) = (Directory::default(), Link::new(1));
    // No token of the file has it.
    directory.enter("web-1", 1, &link, Identity::Token { host: None, digest: [0; 32] });
    let by_certificate = Link::new(2);
    let shown = scene.shown(&scene.authority.client("web-2", 4096));
    directory.enter("web-2", 1, &by_certificate, Identity::Certificate(shown));
    scene.door.revoke(&directory).await;
    assert_eq!(reason(&link).unwrap(), "the token was revoked");
    assert_eq!(reason(&by_certificate), None);
}

/// Why a connection was closed by 1008, if it was.
fn reason(link: &Link) -> Option<String> {
    match link.next()? {
        Outgoing::Close { code: 1008, reason } => Some(reason),
        other => panic!("{other:?}"),
    }
}
