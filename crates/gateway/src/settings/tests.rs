use super::*;

const GOOD: &str = "tokens_file = \"/t\"\n[nats]\nservers = [\"nats://n:4222\"]\n";

fn read(text: &str) -> Result<Settings, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gateway.toml");
    std::fs::write(&path, text).expect("written");
    Settings::read(Some(&path), []).map_err(|err| err.to_string())
}

#[test]
fn little_is_needed() {
    let settings = read(GOOD).expect("it is right");
    assert_eq!(settings.options("x").servers, ["nats://n:4222"]);
    assert_eq!(settings.sizes(), Sizes::default());
    assert_eq!(settings.policy().times.silence_limit, Duration::from_secs(60));
}

#[test]
fn each_problem_is_named_with_its_fix() {
    let cases = [
        ("", "`nats.servers` is missing"),
        ("", "agents could not be told from others"),
        ("lisen = 1", "did you mean `listen`?"),
        ("[nats]\nserver = 1", "`nats.server`"),
        ("[nats]\nserver = 1", "did you mean `servers`?"),
        ("max_connections_of_address = 0", "leave it out"),
        ("log_level = \"loud\"", "off, error, warn"),
        ("[nats]\nservers = [\"\"]", "empty address"),
        ("listen = [\"a\"]", "listen"),
        ("heartbeat_interval = 0", "1 to 3600"),
        ("reconnect_window_s = 601", "1 to 600"),
        ("ping_interval_s = 60", "less than `silence_limit_s`"),
        ("name = \"a.b\"", "A-Z"),
        ("[nats]\ncredentials_file = \"a\"\nnkey_file = \"b\"", "leave one of them out"),
        ("[nats]\nkey_file = \"a\"", "set both or none"),
        ("[streams]\nreplicas = 6", "1 to 5"),
        (
            "[tls]\ncertificate_file = \"a\"\nkey_file = \"b\"\nclient_crl_file = \"c\"",
            "without `tls.client_ca_file`",
        ),
        ("a = ", "gateway.toml"),
    ];
    for (text, part) in cases {
        let why = read(text).expect_err(text);
        assert!(why.contains(part), "{text}: {why}");
    }
}

#[test]
fn variables_take_precedence_over_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gateway.toml");
    std::fs::write(&path, GOOD).expect("written");
    let read = |name: &str, value: &str| {
        Settings::read(Some(&path), [(name.to_owned(), value.to_owned())]).map_err(|err| err.to_string())
    };
    let servers =
        read("NIXFLEET_GATEWAY_NATS__SERVERS", "[\"nats://a\", \"nats://b\"]").expect("it is right");
    assert_eq!(servers.nats.servers, ["nats://a", "nats://b"]);
    assert_eq!(read("NIXFLEET_GATEWAY_NAME", "gw-1").expect("it is right").name.as_deref(), Some("gw-1"));
    assert_eq!(read("NIXFLEET_GATEWAY_MAX_CONNECTIONS", "7").expect("it is right").max_connections, 7);
    assert_eq!(read("NIXFLEET_NAME", "other").expect("it is right").name, None);
    let why = read("NIXFLEET_GATEWAY_MAX_CONNECTION", "7").expect_err("there is none");
    assert!(why.starts_with("NIXFLEET_GATEWAY_MAX_CONNECTION, ") && why.contains("max_connections"), "{why}");
    let why = read("NIXFLEET_GATEWAY_MAX_CONNECTIONS", "many").expect_err("it is no number");
    assert!(why.contains("`max_connections`"), "{why}");
}

#[test]
fn a_list_in_a_variable_may_be_words() {
    let read = |servers: &str| {
        let variables =
            [("NATS__SERVERS", servers), ("TOKENS_FILE", "/t"), ("LISTEN", "127.0.0.1:1 [::1]:2")];
        let named = variables.map(|(name, value)| (format!("NIXFLEET_GATEWAY_{name}"), value.to_owned()));
        Settings::read(None, named).map_err(|err| err.to_string())
    };
    let settings = read("nats://a nats://b").expect("it is right");
    assert_eq!(settings.nats.servers, ["nats://a", "nats://b"]);
    assert_eq!(settings.listen.len(), 2);
    assert_eq!(read("nats://a").expect("it is right").nats.servers, ["nats://a"]);
}

#[test]
fn no_error_has_a_password() {
    let secret = "hunter2";
    for text in [
        format!("[nats]\nservers = \"nats://me:{secret}@n\"\n"),
        format!("[nats]\nservers = [\"nats://me:{secret}@n\"\n"),
        format!("[nats]\nservers = nats://me:{secret}@n\n"),
        format!("[nats]\nservers = [\"nats://me:{secret}@n\", 1]\n"),
    ] {
        let why = read(&text).expect_err(&text);
        assert!(!why.contains(secret) && why.contains("gateway.toml"), "{why}");
    }
}
