use super::*;

const NATS: &str = "[nats]\nservers = [\"nats://n:4222\"]\n";

fn read(text: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dashboard.toml");
    std::fs::write(&path, format!("{text}\n{NATS}")).unwrap();
    Config::read(Some(&path), [], &[]).map_err(|err| err.to_string())
}

#[test]
fn little_is_needed() {
    let config = read("login_file = \"/l\"").unwrap();
    assert_eq!((config.public(), config.names().len()), (None, 0));
    assert_eq!(config.nats.options("x").servers, ["nats://n:4222"]);
    let config = read(
        "login_file = \"/l\"\nlisten = \"0.0.0.0:80\"\npublic_url = \"https://Fleet.example.org\"\n\
         allow_hosts = [\"10.0.0.1\"]",
    );
    let config = config.unwrap();
    assert!(config.public().unwrap().is_secure);
    assert_eq!(config.names(), ["fleet.example.org", "10.0.0.1"]);
    let config =
        read("trusted_header = \"X-Remote-User\"\ntrusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]");
    let proxies = config.unwrap().proxies();
    for (address, known) in [("127.0.0.1", true), ("10.255.0.1", true), ("127.0.0.2", false), ("::1", false)]
    {
        assert_eq!(proxies.have(address.parse().unwrap()), known, "{address}");
    }
    assert!(read("no_login = true").is_ok());
}

#[test]
fn each_problem_is_named_with_its_fix() {
    let cases = [
        ("", "there is no login"),
        ("", "`nixfleet-dashboard password NAME`"),
        ("no_login = true\nlisten = \"0.0.0.0:80\"", "of loopback"),
        ("no_login = true\nlisten = \"[::]:80\"", "of loopback"),
        ("no_login = true\npublic_url = \"https://a\"", "leave out `public_url`"),
        ("no_login = true\nallow_hosts = [\"a\"]", "leave out `public_url`"),
        ("no_login = true\nlogin_file = \"/l\"", "leave one of them out"),
        ("login_file = \"/l\"\ntrusted_header = \"a\"\ntrusted_proxies = [\"::1\"]", "leave one of them out"),
        ("login_file = \"/l\"\nlisten = \"0.0.0.0:80\"", "set `public_url`"),
        ("login_file = \"/l\"\nallow_hosts = [\"a\"]", "set `public_url`"),
        ("login_file = \"/l\"\npublic_url = \"https://a/fleet\"", "without a path"),
        ("login_file = \"/l\"\npublic_url = \"fleet.example.org\"", "without a path"),
        ("login_file = \"/l\"\npublic_url = \"https://a:b@c\"", "without a path"),
        ("login_file = \"/l\"\nallow_hosts = [\"https://a\"]", "`allow_hosts`"),
        ("login_file = \"/l\"\nallow_hosts = [\"a:81\"]", "`allow_hosts`"),
        ("trusted_header = \"X-Remote-User\"", "needs `trusted_proxies`"),
        ("trusted_header = \"a b\"\ntrusted_proxies = [\"::1\"]", "the name of a header"),
        ("trusted_header = \"a\"\ntrusted_proxies = [\"proxy\"]", "addresses or networks"),
        ("trusted_header = \"a\"\ntrusted_proxies = [\"10.0.0.0/33\"]", "addresses or networks"),
        ("login_file = \"/l\"\nlog_level = \"loud\"", "off, error, warn"),
        ("login_fil = \"/l\"", "did you mean `login_file`?"),
        ("listen = 1", "`listen`"),
        ("a = ", "dashboard.toml"),
    ];
    for (text, part) in cases {
        let why = read(text).expect_err(text);
        assert!(why.contains(part), "{text}: {why}");
    }
    let why = Config::read(None, [], &[]).unwrap_err().to_string();
    assert!(why.contains("`nats.servers` is missing"), "{why}");
}

#[test]
fn options_override_variables_and_those_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dashboard.toml");
    std::fs::write(&path, format!("login_file = \"/l\"\nlisten = \"127.0.0.1:1\"\n{NATS}")).unwrap();
    let variable = |name: &str, value: &str| (format!("NIXFLEET_DASHBOARD_{name}"), value.to_owned());
    let variables = [
        variable("LISTEN", "127.0.0.1:2"),
        variable("SESSION_KEY_FILE", "/run/key"),
        variable("NATS__SERVERS", "nats://a nats://b"),
        ("NIXFLEET_LISTEN".to_owned(), "other".to_owned()),
    ];
    let config = Config::read(Some(&path), variables.clone(), &[]).unwrap();
    assert_eq!((config.listen.port(), config.nats.servers.len()), (2, 2));
    assert_eq!(config.session_key_file, Some("/run/key".into()));
    let options =
        [("--listen", "listen", "127.0.0.1:3".into()), ("--nats", "nats.servers", vec!["nats://c"].into())];
    let config = Config::read(Some(&path), variables, &options).unwrap();
    assert_eq!((config.listen.port(), config.nats.servers), (3, vec!["nats://c".to_owned()]));
    for (variables, options, place) in [
        (vec![variable("LISTN", "1")], vec![], "NIXFLEET_DASHBOARD_LISTN, `listn`"),
        (vec![variable("LISTEN", "1")], vec![], "NIXFLEET_DASHBOARD_LISTEN, `listen`"),
        (vec![], vec![("--ca-file", "nats.ca_file", 1.into())], "--ca-file, `nats.ca_file`"),
    ] {
        let why = Config::read(Some(&path), variables, &options).unwrap_err().to_string();
        assert!(why.starts_with(place), "{why}");
    }
}
