//! Certificates that were let in, and are not valid any more.

use jiff::SignedDuration;
use rcgen::{
    CertificateRevocationListParams, DnType, KeyIdMethod, RevokedCertParams, SerialNumber, date_time_ymd,
};

use super::*;

impl Authority {
    /// A list of revoked certificates, by their serial numbers.
    pub(super) fn revoke(&self, serials: &[u8]) -> String {
        let revoked = |serial: &u8| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&[*serial]),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2024, 2, 1),
            crl_number: SerialNumber::from_slice(&[1]),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// A client certificate with this serial number.
    fn numbered(&self, serial: u8, host: &str) -> Pair {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from_slice(&[serial]));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    /// An authority below this one, whose certificate has this serial number.
    fn below(&self, serial: u8) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "below");
        params.serial_number = Some(SerialNumber::from_slice(&[serial]));
        let key = KeyPair::generate().unwrap();
        let own = params.signed_by(&key, &self.issuer).unwrap();
        let (pem, der) = (own.pem(), own.der().clone());
        Self { issuer: Issuer::new(params, key), pem, der }
    }
}

/// A host that is connected, and the link of its connection.
fn connected(scene: &Scene, directory: &Directory, host: &str, pair: &Pair) -> Arc<Link> {
    let link = Link::new(1);
    directory.enter(host, 1, &link, Identity::Certificate(scene.shown(pair)));
    link
}

#[test]
fn a_certificate_is_for_its_names_up_to_the_first_dot() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca");
    fs::write(&ca, &authority.pem).unwrap();
    let clients = Clients::read(&ca, None, false).unwrap();
    let names = ["web-1", "db-2.example.org", "*.example.org", "192.0.2.7", "under_score"];
    let read = |der: CertificateDer<'static>| Shown::read(&[der], &clients);
    let shown = read(authority.issue(&names).0.der().clone()).unwrap();
    for (host, is_own) in
        [("web-1", true), ("db-2", true), ("*", false), ("192", false), ("under_score", false)]
    {
        assert_eq!(shown.is_for(host), is_own, "{host}");
    }
    assert!(read(authority.issue(&["*.example.org"]).0.der().clone()).is_none());
    assert!(read(CertificateDer::from(b"text".to_vec())).is_none());
}

#[tokio::test]
async fn a_connection_ends_with_its_certificate() {
    let scene = Scene::new(false).await;
    let directory = Directory::default();
    let ended = connected(&scene, &directory, "web-1", &scene.authority.client("web-1", 2020));
    let stays = connected(&scene, &directory, "web-2", &scene.authority.client("web-2", 4096));
    scene.door.revoke(&directory).await;
    assert_eq!(reason(&ended).unwrap(), "the client certificate has expired");
    assert_eq!(reason(&stays), None);
    let headers = HeaderMap::new();
    let shown = scene.shown(&scene.authority.client("web-1", 2020));
    assert!(scene.door.identity(&headers, Some(&shown)).is_none(), "a resumed session of TLS comes so far");
    let until: Timestamp = "2020-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(shown.refusal(until), None);
    assert!(shown.refusal(until + SignedDuration::from_secs(1)).is_some());
}

#[tokio::test]
async fn a_connection_ends_when_its_authority_is_given_up() {
    let scene = Scene::new(false).await;
    let (directory, next) = (Directory::default(), Authority::new());
    let link = connected(&scene, &directory, "web-1", &scene.authority.client("web-1", 4096));
    let both = format!("{}{}", scene.authority.pem, next.pem);
    fs::write(scene.folder.path().join("ca"), both).unwrap();
    scene.door.reload(true);
    let new = connected(&scene, &directory, "web-2", &next.client("web-2", 4096));
    scene.door.revoke(&directory).await;
    assert_eq!((reason(&link), reason(&new)), (None, None));
    fs::write(scene.folder.path().join("ca"), &next.pem).unwrap();
    scene.door.reload(true);
    scene.door.revoke(&directory).await;
    let why = reason(&link).unwrap();
    assert!(why.starts_with("the client certificate is not valid any more: "), "{why}");
    assert_eq!(reason(&new), None);
    assert_eq!(directory.certificates(|_| true).len(), 2, "both are here until they have ended");
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_and_its_connection_ends() {
    let scene = Scene::with(false, true).await;
    let directory = Directory::default();
    let (first, other) = (scene.authority.numbered(1, "web-1"), scene.authority.numbered(2, "web-2"));
    let pair = |of: &Pair| (of.0.clone(), of.1.clone_key());
    assert!(scene.get("/ws", Some(pair(&first))).await.is_ok());
    let links =
        [("web-1", &first), ("web-2", &other)].map(|(host, of)| connected(&scene, &directory, host, of));
    fs::write(scene.folder.path().join("crl"), scene.authority.revoke(&[7, 1])).unwrap();
    scene.door.reload(true);
    scene.door.revoke(&directory).await;
    assert!(reason(&links[0]).unwrap().contains("Revoked"));
    assert_eq!(reason(&links[1]), None);
    assert!(scene.get("/ws", Some(first)).await.is_err());
    assert!(scene.get("/ws", Some(other)).await.is_ok());
}

#[tokio::test]
async fn a_revoked_authority_below_the_root_ends_its_hosts() {
    let scene = Scene::with(false, true).await;
    let (directory, below) = (Directory::default(), scene.authority.below(9));
    let write = |text: String| fs::write(scene.folder.path().join("crl"), text).unwrap();
    write(scene.authority.revoke(&[]) + &below.revoke(&[]));
    scene.door.reload(true);
    let (host, _) = below.numbered(1, "web-1");
    let clients = scene.door.tls().unwrap().clients.unwrap();
    let shown = Shown::read(&[host, below.der.clone()], &clients).unwrap();
    let link = Link::new(1);
    directory.enter("web-1", 1, &link, Identity::Certificate(Arc::new(shown)));
    scene.door.reload(true);
    scene.door.revoke(&directory).await;
    assert_eq!(reason(&link), None, "it is judged anew, and good");
    write(scene.authority.revoke(&[9]) + &below.revoke(&[]));
    scene.door.reload(true);
    scene.door.revoke(&directory).await;
    assert!(reason(&link).unwrap().contains("Revoked"));
}

#[test]
fn what_a_host_shows_beside_its_own_certificate_does_not_end_it() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca");
    fs::write(&ca, &authority.pem).unwrap();
    let clients = Clients::read(&ca, None, false).unwrap();
    let (own, _) = authority.client("web-1", 4096);
    let (old, _) = authority.client("web-1", 2020);
    let shown = Shown::read(&[own, old], &clients).unwrap();
    assert_eq!(shown.refusal(Timestamp::now()), None);
}

#[test]
fn a_file_without_a_list_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, crl) = (folder.path().join("ca"), folder.path().join("crl"));
    fs::write(&ca, Authority::new().pem).unwrap();
    fs::write(&crl, "").unwrap();
    let err = Clients::read(&ca, Some(&crl), false).unwrap_err().to_string();
    assert!(
        err.ends_with("crl has no list of revoked certificates; it must be PEM, with BEGIN X509 CRL"),
        "{err}"
    );
}

#[tokio::test]
async fn what_could_not_be_read_is_read_again_and_nothing_else_is() {
    let scene = Scene::new(true).await;
    let path = |name: &str| scene.folder.path().join(name);
    let right = fs::read(path("tokens")).unwrap();
    fs::remove_file(path("tokens")).unwrap();
    scene.door.reload(true);
    let rule = || format!("{:?}", scene.door.tls().unwrap().clients);
    let before = rule();
    fs::write(path("tokens"), new_token("web-7").unwrap().line + "\n" + &String::from_utf8(right).unwrap())
        .unwrap();
    scene.door.reload(false);
    assert_eq!(scene.door.tokens.as_ref().unwrap().current().len(), 2);
    assert_eq!(rule(), before, "the certificates were read, and are not judged again for nothing");
    fs::write(path("tokens"), "").unwrap();
    scene.door.reload(false);
    assert_eq!(
        scene.door.tokens.as_ref().unwrap().current().len(),
        2,
        "nothing was wrong, so nothing is read"
    );
}
