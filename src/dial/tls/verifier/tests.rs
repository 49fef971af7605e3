use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::RootCertStore;

use super::*;

/// 2026-06-01.
const NOW: u64 = 1_780_272_000;

fn time(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

fn params(host: &str, is_ca: bool) -> CertificateParams {
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, host);
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2027, 1, 1);
    if is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    params
}

fn own(params: &CertificateParams) -> CertificateDer<'static> {
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
}

/// webpki and this verifier with the same trusted certificates.
fn both(
    trusted: &[CertificateDer<'static>],
) -> (Arc<WebPkiServerVerifier>, Verifier, Arc<OnceLock<Mistrust>>) {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(certificate.clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let (verifier, verdict) = Verifier::new(Arc::clone(&webpki));
    (webpki, verifier, verdict)
}

/// The verdict of each of the two for a certificate.
fn verdicts(
    trusted: &[CertificateDer<'static>],
    presented: &CertificateDer<'_>,
    host: &str,
    at: u64,
) -> (Result<(), String>, Result<(), String>) {
    let (webpki, verifier, noted) = both(trusted);
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let ask = |by: &dyn ServerCertVerifier| {
        by.verify_server_cert(presented, &[], &name, &[], time(at))
            .map(|_| ())
            .map_err(|err| format!("{err:?}"))
    };
    let (theirs, ours) = (ask(&*webpki), ask(&verifier));
    assert_eq!(noted.get().is_some(), ours.is_err(), "a refusal is noted, and nothing else");
    (theirs, ours)
}

#[test]
fn the_verdict_is_webpkis_and_a_refusal_is_noted() {
    let key = KeyPair::generate().unwrap();
    let authority = params("Fleet CA", true);
    let root = authority.self_signed(&key).unwrap().der().clone();
    let issuer = Issuer::new(authority, key);
    let issued = |params: &CertificateParams| {
        params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().der().clone()
    };
    let mut client = params("dash.example", false);
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let plain = own(&params("dash.example", false));
    let own_authority = own(&params("dash.example", true));
    let mut seen = Vec::new();
    for (trusted, presented) in [
        (&root, issued(&params("dash.example", false))),
        (&root, issued(&params("other.example", false))),
        (&root, issued(&params("dash.example", true))),
        (&root, issued(&client)),
        (&root, plain.clone()),
        (&root, own(&params("dash.example", true))),
        (&root, CertificateDer::from(&b"junk"[..])),
        (&plain, plain.clone()),
        (&plain, own(&params("dash.example", false))),
        (&own_authority, own_authority.clone()),
    ] {
        for at in [NOW, 1_767_225_599, 1_798_761_601] {
            let (theirs, ours) = verdicts(std::slice::from_ref(trusted), &presented, "dash.example", at);
            assert_eq!(theirs, ours);
            seen.push(ours);
        }
    }
    assert_eq!(
        seen.iter().filter(|verdict| verdict.is_ok()).count(),
        2,
        "one that is issued, one that is pinned"
    );
}
