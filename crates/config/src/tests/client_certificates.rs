//! Where the client certificate is, and what `check-config` says of it.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::ClientCertificateFiles;

const FILES: [(&str, &str); 2] =
    [("NIXFLEET_CLIENT_CERT", "/run/host.pem"), ("NIXFLEET_CLIENT_KEY", "/run/host.key")];

fn files(cert: &str, key: &str) -> Option<ClientCertificateFiles> {
    Some(ClientCertificateFiles { cert: cert.into(), key: key.into() })
}

#[test]
fn both_files_are_set_or_both_credentials_are_passed_or_there_is_none() {
    assert_eq!(Given::new("", &[]).loads().connection.client_certificate, None);
    let set = Given::new("", &FILES).loads().connection.client_certificate;
    assert_eq!(set, files("/run/host.pem", "/run/host.key"));

    let folder = tempfile::tempdir().unwrap();
    let credentials = [("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())];
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    assert_eq!(Given::new("", &credentials).loads().connection.client_certificate, None);
    fs::write(path("client-cert"), "").unwrap();
    let text = Given::new("", &credentials).fails();
    assert!(
        text.contains("client_cert: is passed as the credential client-cert, without client-key"),
        "{text}"
    );
    fs::write(path("client-key"), "").unwrap();
    let passed = Given::new("", &credentials).loads().connection.client_certificate;
    assert_eq!(passed, files(&path("client-cert"), &path("client-key")));
    let both = [credentials[0], FILES[0], FILES[1]];
    let set = Given::new("", &both).loads().connection.client_certificate;
    assert_eq!(set, files("/run/host.pem", "/run/host.key"), "a setting wins");
    fs::remove_file(path("client-cert")).unwrap();
    let text = Given::new("", &credentials).fails();
    assert!(
        text.contains("client_key: is passed as the credential client-key, without client-cert"),
        "{text}"
    );

    for (given, said) in [
        (FILES[0], "client_cert: is set without client_key"),
        (FILES[1], "client_key: is set without client_cert"),
    ] {
        let text = Given::new("", &[given]).fails();
        assert!(text.contains(said) && text.contains("name the file with the"), "{text}");
    }
}

#[test]
fn check_config_says_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("host.pem"), folder.path().join("host.key"));
    let variables =
        [("NIXFLEET_CLIENT_CERT", cert.to_str().unwrap()), ("NIXFLEET_CLIENT_KEY", key.to_str().unwrap())];
    let check = || {
        let given = Given::new("", &variables);
        match Config::check(&given.source) {
            Ok(config) => format!("good: {}", config.warnings.join("\n")),
            Err(error) => error.to_string(),
        }
    };
    let text = check();
    assert!(
        text.starts_with("good: client_cert: ") && text.contains("does not exist on this machine"),
        "{text}"
    );
    let write = |from: i32, to: i32| {
        let mut params = rcgen::CertificateParams::new(vec!["web-1".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        let made = rcgen::KeyPair::generate().unwrap();
        fs::write(&cert, params.self_signed(&made).unwrap().pem()).unwrap();
        fs::write(&key, made.serialize_pem()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    };
    write(2020, 2099);
    let text = check();
    assert!(text.starts_with("good: ") && !text.contains("client_"), "{text}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let text = check();
    assert!(text.starts_with("good: ") && text.contains("Everybody on this host can read the key"), "{text}");
    write(2020, 2021);
    let text = check();
    assert!(text.contains("has expired at 2021-01-01T00:00:00Z") && !text.starts_with("good"), "{text}");
    write(2098, 2099);
    let text = check();
    assert!(text.contains("is valid from 2098-01-01T00:00:00Z on") && !text.starts_with("good"), "{text}");
    fs::write(&key, "nonsense").unwrap();
    let text = check();
    assert!(text.contains("client_key") && text.contains("no private key in PEM"), "{text}");
    assert!(Config::load(&Given::new("", &variables).source).is_ok(), "the agent starts: it may be replaced");
}

#[test]
fn without_tls_it_has_no_effect() {
    let mut variables = FILES.to_vec();
    variables.push(("NIXFLEET_URL", "ws://localhost/ws"));
    let warnings = Given::new("", &variables).loads().warnings.join("\n");
    assert!(warnings.contains("client_cert: has no effect with ws://"), "{warnings}");
}
