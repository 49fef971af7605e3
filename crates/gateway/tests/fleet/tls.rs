//! Agents with client certificates, through TLS that the gateways end.

use std::fs;
use std::path::PathBuf;

use nixfleet_fleet::Reply;
use nixfleet_testbed::Nats;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use tempfile::TempDir;

use crate::rig::{HOST, Rig, wait};

/// Lines of the command: enough for several messages.
const LINES: usize = 2000;

/// The number of the host's certificate.
const SERIAL: u8 = 7;

/// An authority and what it has issued, as files.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        fs::write(folder.path().join("ca"), params.self_signed(&key).unwrap().pem()).unwrap();
        let authority = Self { folder, issuer: Issuer::new(params, key) };
        authority.issue("127.0.0.1", 1, ExtendedKeyUsagePurpose::ServerAuth);
        authority.issue(HOST, SERIAL, ExtendedKeyUsagePurpose::ClientAuth);
        authority.revoke(&[]);
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn issue(&self, name: &str, serial: u8, usage: ExtendedKeyUsagePurpose) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from_slice(&[serial]));
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        fs::write(self.path(name), format!("{certificate}{}", key.serialize_pem())).unwrap();
    }

    fn revoke(&self, serials: &[u8]) {
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
        fs::write(self.path("crl"), params.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
    }

    fn settings(&self) -> String {
        let gateway = self.path("127.0.0.1");
        format!(
            "[tls]\ncertificate_file = {gateway:?}\nkey_file = {gateway:?}\nclient_ca_file = {:?}\n\
             client_crl_file = {:?}\n",
            self.path("ca"),
            self.path("crl")
        )
    }

    fn agent(&self) -> String {
        let host = self.path(HOST);
        format!("ca_file = {:?}\nclient_cert = {host:?}\nclient_key = {host:?}\n", self.path("ca"))
    }
}

#[tokio::test]
async fn a_host_with_a_certificate_moves_through_tls_and_is_sent_away_when_it_is_revoked() {
    let Some(nats) = Nats::start() else { return };
    let authority = Authority::new();
    let rig = Rig::start(&nats).await.counter(LINES);
    let rig = rig.certificates(&authority.settings(), &authority.agent());
    let mut first = rig.gateway("one").await;
    let (_agent, connection) = rig.agent_at("one").await;
    let second = rig.gateway("two").await;
    assert!(matches!(rig.ask("count", "a").await, Reply::Accepted { .. }));
    first.kill();
    let moved = rig.wait_owner("two").await;
    assert!(moved > connection);
    rig.go();
    rig.wait_counted(LINES).await;
    rig.assert_connections_in_order().await;

    authority.revoke(&[SERIAL]);
    second.signal("-HUP").await;
    let left = wait("the end of the connection", async || rig.owner().await?.left).await;
    assert!(
        left.why.starts_with("closed by us with 1008, the client certificate is not valid any more: "),
        "{left:?}"
    );
    let refused = async || {
        let log = fs::read_to_string(rig.path("agent.log")).unwrap();
        log.contains("revoked").then_some(())
    };
    wait("a handshake that fails", refused).await;
    assert_eq!(rig.owner().await.unwrap().connection, moved, "it does not come back");
}
