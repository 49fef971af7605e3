use nixfleet_fleet::Login;

use super::*;

/// A machine with a home folder in which these files are.
struct Place {
    folder: tempfile::TempDir,
    surroundings: Surroundings,
}

impl Place {
    fn new(machine: &str, own: &str, variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        std::fs::create_dir_all(home.join(".config/nixfleet")).unwrap();
        let place = folder.path().join("cli.toml");
        for (path, text) in [(&place, machine), (&home.join(".config/nixfleet/cli.toml"), own)] {
            if !text.is_empty() {
                std::fs::write(path, text).unwrap();
            }
        }
        let home = ("HOME".to_owned(), home.display().to_string());
        let named = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let surroundings = Surroundings { variables: named.chain([home]).collect(), machine: place };
        Self { folder, surroundings }
    }

    fn read(&self, options: &Connection) -> Result<Options, String> {
        read(options, &self.surroundings)
    }
}

const SERVERS: &str = "[nats]\nservers = [\"nats://machine\"]\nnkey_file = \"machine.nk\"\n";

#[test]
fn options_are_over_variables_over_the_own_file_over_that_of_the_machine() {
    let place = Place::new(SERVERS, "", &[]);
    let options = place.read(&Connection::default()).unwrap();
    assert_eq!(options.servers, ["nats://machine"]);
    assert_eq!(options.login, Login::Nkey(place.folder.path().join("machine.nk")));

    let own = "[nats]\nservers = [\"nats://own\"]\ncredentials_file = \"~/own.creds\"\n";
    let place = Place::new(SERVERS, own, &[]);
    let options = place.read(&Connection::default()).unwrap();
    assert_eq!(options.servers, ["nats://own"]);
    assert_eq!(options.login, Login::Credentials(place.folder.path().join("home/own.creds")));

    let variables = [("NIXFLEET_NATS_SERVERS", "nats://a, nats://b"), ("NIXFLEET_NATS_NKEY_FILE", "here.nk")];
    let place = Place::new(SERVERS, own, &variables);
    let options = place.read(&Connection::default()).unwrap();
    assert_eq!(options.servers, ["nats://a", "nats://b"]);
    assert_eq!(options.login, Login::Nkey("here.nk".into()));

    let given = Connection { server: vec!["nats://given".to_owned()], ..Connection::default() };
    let options = place.read(&given).unwrap();
    assert_eq!(options.servers, ["nats://given"]);
    assert_eq!(options.login, Login::Nkey("here.nk".into()));
}

#[test]
fn a_file_that_is_named_is_the_only_one() {
    let place = Place::new(SERVERS, "wrong = ", &[]);
    let other = place.folder.path().join("other.toml");
    std::fs::write(&other, "[nats]\nservers = [\"nats://other\"]\n").unwrap();
    let given = Connection { config: Some(other.clone()), ..Connection::default() };
    let options = place.read(&given).unwrap();
    assert_eq!((options.servers, options.login), (vec!["nats://other".to_owned()], Login::None));
    std::fs::remove_file(other).unwrap();
    assert!(place.read(&given).unwrap_err().contains("there is no such file"));
}

#[test]
fn each_problem_is_named_with_its_fix() {
    for (own, variables, part) in [
        ("", &[][..], "--server nats://10.0.0.1:4222"),
        ("", &[], "home/.config/nixfleet/cli.toml"),
        ("servers = [\"nats://a\"]", &[], "unknown field"),
        ("[nats]\nserver = [\"nats://a\"]", &[], "`nats.server`"),
        ("[nats]\nserver = [\"nats://a\"]", &[], "did you mean `servers`?"),
        ("[nats]\nservers = \"nats://a\"", &[], "`nats.servers`"),
        ("a = ", &[], "cli.toml"),
        (
            "[nats]\nservers = [\"a\"]\ncredentials_file = \"a\"\nnkey_file = \"b\"",
            &[],
            "leave one of them out",
        ),
        ("[nats]\nservers = [\"a\"]\nkey_file = \"a\"", &[], "belong together"),
        ("", &[("NIXFLEET_NATS_SERVER", "nats://a")], "did you mean NIXFLEET_NATS_SERVERS?"),
        ("", &[("NIXFLEET_NATS_SERVER", "/bin/nats-server")], "no NATS server is named"),
    ] {
        let why = Place::new("", own, variables).read(&Connection::default()).unwrap_err();
        assert!(why.contains(part), "{own} {variables:?}: {why}");
    }
}

#[test]
fn no_error_has_a_password() {
    for own in [
        "[nats]\nservers = \"nats://me:hunter2@n\"\n",
        "[nats]\nservers = [\"nats://me:hunter2@n\"\n",
        "[nats]\nservers = nats://me:hunter2@n\n",
        "[nats]\nservers = [\"nats://me:hunter2@n\", 1]\n",
    ] {
        let why = Place::new("", own, &[]).read(&Connection::default()).unwrap_err();
        assert!(!why.contains("hunter2") && why.contains("cli.toml"), "{why}");
    }
}

#[test]
fn the_example_of_the_page_is_right() {
    let page = include_str!("../../../../docs/nixfleet.md");
    let example = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let options = Place::new("", example, &[]).read(&Connection::default()).unwrap();
    assert_eq!((options.servers.len(), options.inbox_prefix.as_deref()), (2, Some("_INBOX_operator")));
    // The tables name each setting.
    for key in KEYS {
        let variable = format!("`{VARIABLES}{}` | `{key}` |", key.to_ascii_uppercase());
        assert!(page.contains(&variable), "{variable}");
    }
}
