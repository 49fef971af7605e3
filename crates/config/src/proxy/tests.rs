//! Which proxy counts, and that its login is not shown.

use std::fs;

use crate::{Config, LoginSource, ProxyScheme, Source, Way};

/// Settings for this URL with these variables.
fn source(url: &str, variables: &[(&str, &str)]) -> Source {
    let minimal = [
        ("NIXFLEET_URL", url),
        ("NIXFLEET_TOKEN", "t0ken"),
        ("NIXFLEET_HOSTNAME", "web-1"),
        ("NIXFLEET_STATE_DIR", "/state"),
    ];
    let all = minimal.into_iter().chain(variables.iter().copied());
    // Without a file: there is none of this name.
    let environment = all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Source { file: None, environment }
}

fn way(url: &str, variables: &[(&str, &str)]) -> Way {
    Config::load(&source(url, variables)).unwrap_or_else(|err| panic!("{variables:?}: {err}")).connection.way
}

#[test]
fn the_setting_wins_over_the_variables_and_those_count_as_for_curl() {
    const WSS: &str = "wss://dash.example.org/ws";
    const WS: &str = "ws://dash.example.org/ws";
    let insecure = ("NIXFLEET_ALLOW_INSECURE", "1");
    for (url, variables, wanted) in [
        (WSS, &[][..], "no proxy is set"),
        (
            WSS,
            &[("https_proxy", "http://a:1"), ("HTTPS_PROXY", "http://b:2")],
            "http://a:1 (from https_proxy)",
        ),
        (WSS, &[("HTTPS_PROXY", "b:2"), ("all_proxy", "c:3")], "http://b:2 (from HTTPS_PROXY)"),
        (WSS, &[("all_proxy", "c:3"), ("ALL_PROXY", "d:4")], "http://c:3 (from all_proxy)"),
        (WSS, &[("ALL_PROXY", "socks5h://d")], "socks5h://d:1080 (from ALL_PROXY)"),
        (WSS, &[("wss_proxy", "e:5"), ("https_proxy", "a:1")], "http://e:5 (from wss_proxy)"),
        (WSS, &[("WSS_PROXY", "e:5"), ("https_proxy", "a:1")], "http://e:5 (from WSS_PROXY)"),
        // An empty variable counts as unset.
        (WSS, &[("https_proxy", ""), ("HTTPS_PROXY", "b:2")], "http://b:2 (from HTTPS_PROXY)"),
        // Those for ws:// do not count for wss://, and the reverse.
        (WSS, &[("http_proxy", "a:1"), ("ws_proxy", "b:2")], "no proxy is set"),
        (WS, &[insecure, ("https_proxy", "a:1"), ("wss_proxy", "b:2")], "no proxy is set"),
        (WS, &[insecure, ("http_proxy", "a:1")], "http://a:1 (from http_proxy)"),
        (WS, &[insecure, ("http_proxy", "a:1"), ("WS_PROXY", "b:2")], "http://b:2 (from WS_PROXY)"),
        // A client of a web server can set this one for its CGI programs.
        (WS, &[insecure, ("HTTP_PROXY", "a:1")], "no proxy is set"),
        (WS, &[insecure, ("ALL_PROXY", "a:1")], "http://a:1 (from ALL_PROXY)"),
        (
            WSS,
            &[("https_proxy", "a:1"), ("no_proxy", "x, example.org")],
            "no proxy: no_proxy excepts example.org from https_proxy",
        ),
        (WSS, &[("https_proxy", "a:1"), ("NO_PROXY", "*")], "no proxy: NO_PROXY excepts * from https_proxy"),
        (
            WSS,
            &[("https_proxy", "a:1"), ("no_proxy", "other"), ("NO_PROXY", "*")],
            "http://a:1 (from https_proxy)",
        ),
        (WSS, &[("https_proxy", "a:1"), ("no_proxy", "")], "http://a:1 (from https_proxy)"),
        // The setting is about this one dashboard, so exceptions for other programs do not count.
        (
            WSS,
            &[("NIXFLEET_PROXY", "http://s:9"), ("https_proxy", "a:1"), ("no_proxy", "*")],
            "http://s:9 (from NIXFLEET_PROXY)",
        ),
        (WSS, &[("NIXFLEET_PROXY", "none"), ("https_proxy", "a:1")], "no proxy, as NIXFLEET_PROXY says"),
        (WSS, &[("NIXFLEET_PROXY", "direct"), ("https_proxy", "a:1")], "no proxy, as NIXFLEET_PROXY says"),
        (
            "wss://localhost/ws",
            &[("https_proxy", "a:1")],
            "no proxy: the dashboard is on this machine, so https_proxy does not count",
        ),
        (
            "ws://127.0.0.1:8000/ws",
            &[("all_proxy", "a:1")],
            "no proxy: the dashboard is on this machine, so all_proxy does not count",
        ),
        ("wss://localhost/ws", &[("NIXFLEET_PROXY", "http://s:9")], "http://s:9 (from NIXFLEET_PROXY)"),
        (
            "ws://localhost/ws",
            &[("NIXFLEET_PROXY", "http://127.0.0.1:9")],
            "http://127.0.0.1:9 (from NIXFLEET_PROXY)",
        ),
    ] {
        assert_eq!(way(url, variables).to_string(), wanted, "{url} {variables:?}");
    }
}

#[test]
fn addresses_are_understood_as_curl_does() {
    use ProxyScheme::{Http, Https, Socks5, Socks5h};

    for (text, scheme, host, port, login) in [
        ("proxy", Http, "proxy", 1080, None),
        ("proxy:3128", Http, "proxy", 3128, None),
        ("http://proxy:80", Http, "proxy", 80, None),
        ("http://proxy:80/path?query", Http, "proxy", 80, None),
        ("HTTP://PROXY.Example.org:8080/", Http, "proxy.example.org", 8080, None),
        ("https://proxy", Https, "proxy", 443, None),
        ("https://proxy:443", Https, "proxy", 443, None),
        ("socks5://192.0.2.1", Socks5, "192.0.2.1", 1080, None),
        ("socks5h://[2001:db8::1]:1", Socks5h, "2001:db8::1", 1, None),
        ("me:pw@proxy:3128", Http, "proxy", 3128, Some(("me", "pw"))),
        ("http://me@proxy:3128", Http, "proxy", 3128, Some(("me", ""))),
        ("http://:pw@proxy:3128", Http, "proxy", 3128, Some(("", "pw"))),
        ("http://d%5Cme:p%40%3a%2Fw@proxy:3128", Http, "proxy", 3128, Some(("d\\me", "p@:/w"))),
        ("http://me:p@w@proxy:3128", Http, "proxy", 3128, Some(("me", "p@w"))),
    ] {
        let way = way("wss://dash.example.org/ws", &[("NIXFLEET_PROXY", text)]);
        let proxy = way.proxy().unwrap();
        assert_eq!((proxy.scheme, proxy.host.as_str(), proxy.port), (scheme, host, port), "{text}");
        let read = proxy.login.as_ref().map(|login| login.read().unwrap());
        let read = read.as_ref().map(|login| (login.user(), login.password()));
        assert_eq!(read, login, "{text}");
    }
}

#[test]
fn a_wrong_proxy_is_refused_as_a_setting_and_a_warning_as_a_variable() {
    for (text, why) in [
        ("http://", "it has no host"),
        ("http://proxy:99999", "invalid port number"),
        ("http://proxy:0", "its port is 0"),
        ("http://me:s3/cret@proxy:1", "invalid port number"),
        ("ftp://me:s3cret@proxy", "its scheme is none of http, https, socks5, socks5h"),
        ("socks4://me:s3cret@proxy", "of SOCKS, only version 5 is spoken"),
        ("http://me:s3cret%00@proxy", "its login has a control character"),
        ("http://me:s3cret%ff@proxy", "its login is not UTF-8"),
        ("me:s3cret@pro xy", "invalid"),
        ("s3cret@[::", "invalid"),
        ("s3cret@[::/x://y", "invalid"),
    ] {
        let url = "wss://dash.example.org/ws";
        let error = Config::load(&source(url, &[("NIXFLEET_PROXY", text)])).unwrap_err().to_string();
        assert!(
            error.starts_with("proxy: \"") && error.contains("is not the address of a proxy: "),
            "{error}"
        );
        assert!(
            error.contains("(environment variable NIXFLEET_PROXY); write it as http://HOST:PORT"),
            "{error}"
        );
        let config = Config::load(&source(url, &[("HTTPS_PROXY", text)])).unwrap();
        let warning = &config.warnings[0];
        assert!(
            warning.starts_with("HTTPS_PROXY: ") && warning.contains("reached directly; set"),
            "{warning}"
        );
        assert_eq!(
            config.connection.way.to_string(),
            "no proxy: HTTPS_PROXY names none that this agent can use"
        );
        for said in [&error, warning, &format!("{config:?}")] {
            assert!(!said.contains("s3cret"), "{said}");
        }
        assert!(error.contains(why) && warning.contains(why), "{text}: {error}");
    }
    let there = [("NIXFLEET_PROXY", "http://proxy:3128")];
    let error = Config::load(&source("ws://localhost/ws", &there)).unwrap_err().to_string();
    assert!(error.starts_with("proxy: would get the token unencrypted"), "{error}");
}

#[test]
fn a_login_in_a_file_counts_more_than_the_one_in_the_address_and_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("login");
    let path = file.to_str().unwrap();
    let url = "wss://dash.example.org/ws";
    let proxy = ("https_proxy", "http://other:pw@proxy:3128");
    let set = source(url, &[proxy, ("NIXFLEET_PROXY_LOGIN_FILE", path)]);
    // A file that is not there yet does not keep the agent from starting.
    let login = |source: &Source| Config::load(source).unwrap().connection.way.proxy().unwrap().login.clone();
    assert_eq!(login(&set), Some(LoginSource::File(file.clone())));
    assert_eq!(
        Config::check(&set).unwrap().warnings,
        [format!("proxy_login_file: {path} does not exist on this machine")]
    );
    fs::write(&file, "me:s3cret\n").unwrap();
    assert!(Config::check(&set).unwrap().warnings.is_empty());
    assert_eq!(login(&set).unwrap().read().unwrap().user(), "me");
    fs::write(&file, "s3cret\n").unwrap();
    let error = Config::check(&set).unwrap_err().to_string();
    let wanted = format!(
        "proxy_login_file: {path} has no colon between user and password (environment variable \
         NIXFLEET_PROXY_LOGIN_FILE); write one line into it, USER:PASSWORD"
    );
    assert_eq!(error, wanted);
    let alone = source(url, &[("NIXFLEET_PROXY_LOGIN_FILE", path)]);
    assert_eq!(Config::check(&alone).unwrap_err().to_string(), wanted, "without a proxy");
    fs::write(&file, "me:s3cret\n".repeat(2_000)).unwrap();
    let error = Config::check(&set).unwrap_err().to_string();
    assert!(error.contains("longer than 16384 bytes"), "{error}");
    assert!(error.ends_with("; write one line into it, USER:PASSWORD"), "{error}");

    let credential = folder.path().join("proxy-login");
    let passed = [proxy, ("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())];
    assert!(
        matches!(login(&source(url, &passed)), Some(LoginSource::Address { said_by, .. }) if said_by == "https_proxy")
    );
    fs::write(&credential, "me:s3cret").unwrap();
    assert_eq!(login(&source(url, &passed)), Some(LoginSource::File(credential)));
    // Without a proxy nobody asks for it.
    assert!(way(url, &passed[1..]).proxy().is_none());
}
