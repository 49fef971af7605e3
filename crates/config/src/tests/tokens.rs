//! Where the token is, how it may be written there, and that it is never shown.

use super::*;

/// The agent with a token file of this content, and the path of the file.
fn with_file(content: &[u8]) -> (Given, PathBuf) {
    let given = Given::new("", &[]).without("NIXFLEET_TOKEN");
    let file = given.folder.path().join("token");
    fs::write(&file, content).unwrap();
    let mut given = given;
    given.source.environment.insert("NIXFLEET_TOKEN_FILE".to_owned(), file.to_str().unwrap().to_owned());
    (given, file)
}

#[test]
fn the_token_is_read_anew_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, "first\n").unwrap();
    let credentials = [("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())];
    let config = Given::new("", &credentials).without("NIXFLEET_TOKEN").loads();
    assert_eq!(config.connection.token, TokenSource::File(file.clone()));
    assert_eq!(config.connection.token.read().unwrap().expose(), "first");
    for (content, wanted) in [
        (&b"second\r\n"[..], Ok("second")),
        (b"", Err("holds no token")),
        (b"\n", Err("holds no token")),
        (b" \r\n\t\n", Err("holds no token")),
        (b"top secret", Err("character 4 is a blank, which no token has")),
        (b"topsecret\n\n", Err("character 10 is a line end, which no token has")),
        (b"\xff\xfe", Err("character 1 is not ASCII, which no token has")),
    ] {
        fs::write(&file, content).unwrap();
        match (config.connection.token.read(), wanted) {
            (Ok(token), Ok(wanted)) => assert_eq!(token.expose(), wanted),
            (Err(error), Err(wanted)) => {
                let error = error.to_string();
                assert!(
                    error.contains(wanted) && error.contains("token") && !error.contains("secret"),
                    "{error}"
                );
                assert!(error.contains(file.to_str().unwrap()), "{error}");
            }
            (result, wanted) => panic!("{result:?} is not {wanted:?}"),
        }
    }
    fs::remove_file(&file).unwrap();
    assert!(
        config.connection.token.read().unwrap_err().to_string().starts_with("cannot read the token file")
    );

    let given = Given::new("", &[]);
    let shown = format!("{:?} {:?} {}", given.loads(), given.source, Secret::new("s3cret"));
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[test]
fn a_token_that_systemd_could_not_pass_is_told_with_its_file() {
    let unit = include_str!("../../../../dist/systemd/nixfleet-agent.service");
    let set = unit.lines().find_map(|line| line.strip_prefix("SetCredential=token:")).unwrap();
    let (given, file) = with_file(set.as_bytes());
    let told = given.loads().connection.token.read().unwrap_err().to_string();
    assert!(told.starts_with("systemd passed no token, because the file in LoadCredential="), "{told}");
    fs::remove_file(&file).unwrap();
    let read = |was_there| match (TokenSource::NotPassed { file: file.clone(), was_there }).read() {
        Err(error @ TokenError::NotPassed { came, .. }) => (came, error.to_string()),
        other => panic!("{other:?}"),
    };
    let (came, told) = read(false);
    let path = file.display();
    assert!(
        !came && told.contains(&format!("{path} was missing when systemd started the agent; write")),
        "{told}"
    );
    fs::write(&file, "token\n").unwrap();
    let (came, told) = read(false);
    assert!(came && told.ends_with("and is there now"), "{told}");
    // systemd would pass nothing again: it looks elsewhere, or the file came in the moment of the start.
    assert!(!read(true).0);
}

#[test]
fn a_bare_token_is_itself_and_an_environment_file_is_understood() {
    for (content, wanted, is_bare) in [
        ("abc", "abc", true),
        ("abc=\n", "abc=", true),
        ("dG9rZW4=dG9rZW4==\r\n", "dG9rZW4=dG9rZW4==", true),
        ("KEY=abc\n", "KEY=abc", true),
        ("token==\n", "token==", true),
        ("#abc\n", "#abc", true),
        ("NIXFLEET_TOKEN=abc", "abc", false),
        ("NIXFLEET_TOKEN=abc==\n", "abc==", false),
        ("NIXFLEET_TOKEN=abc\r\n", "abc", false),
        ("export NIXFLEET_TOKEN='abc'\n", "abc", false),
        ("# the token\n\n; of this host\n  NIXFLEET_TOKEN = \"a\\\"bc\"  \n", "a\"bc", false),
        ("NIXFLEET_URL=wss://a/ws\nNIXFLEET_TOKEN=abc\nLANG=C\n", "abc", false),
        ("NIXFLEET_TOKEN=first\nNIXFLEET_TOKEN=second\n", "second", false),
    ] {
        let (given, file) = with_file(content.as_bytes());
        let token = given.loads().connection.token.read().unwrap();
        assert_eq!(token.expose(), wanted, "{content:?}");
        let warning = format!(
            "The token file {} is an environment file, of which only NIXFLEET_TOKEN is read; write the token alone \
             into it, without NIXFLEET_TOKEN= and without quotes.",
            file.display()
        );
        assert_eq!(token.warning(), (!is_bare).then_some(warning.as_str()), "{content:?}");
        // The agent itself warns when it connects.
        assert_eq!(given.loads().warnings, [""; 0]);
        let warnings = Config::check(&given.source).unwrap().warnings;
        assert_eq!(warnings, token.warning().into_iter().collect::<Vec<_>>(), "{content:?}");
    }
    let given = Given::new("", &[("NIXFLEET_TOKEN", "NIXFLEET_TOKEN='abc'")]);
    let token = given.loads().connection.token.read().unwrap();
    assert_eq!(token.expose(), "abc");
    let warning = "The variable NIXFLEET_TOKEN holds NIXFLEET_TOKEN= once more; set it to the token alone.";
    assert_eq!(Config::check(&given.source).unwrap().warnings, [warning]);
}

#[test]
fn a_file_without_a_token_is_a_problem_of_the_settings_when_it_is_looked_at() {
    const END: &str = "(environment variable NIXFLEET_TOKEN_FILE); write the token and nothing else into it";
    for (content, wanted) in [
        (&b""[..], "holds no token"),
        (b"NIXFLEET_TOKEN=\n", "holds no token"),
        (b"NIXFLEET_TOKEN=abc\nNIXFLEET_TOKEN=\n", "holds no token"),
        (b"NIXFLEET_URL=wss://a/ws\n", "is an environment file without NIXFLEET_TOKEN"),
        (b"TOKEN=s3cret\n", "holds an assignment, such as TOKEN=.., instead of a token alone"),
        (b"export FLEET_TOKEN='s3cret'\n", "holds an assignment, such as TOKEN=.., instead of a token alone"),
        (b"token = s3cret", "holds an assignment, such as TOKEN=.., instead of a token alone"),
        (b"NIXFLEET_TOKEN=TOKEN=s3cret", "holds an assignment, such as TOKEN=.., instead of a token alone"),
        (
            b"\xef\xbb\xbfs3cret",
            "holds something else than a token: character 1 is the byte order mark of an editor, which no token has",
        ),
        (b"s3cret word", "holds something else than a token: character 7 is a blank, which no token has"),
        (
            b"NIXFLEET_TOKEN=s3 cret\n",
            "holds something else than a token: character 3 of the value of NIXFLEET_TOKEN is a blank, which no \
             token has",
        ),
        (
            b"NIXFLEET_TOKEN='s3cret\n",
            "holds something else than a token: character 7 of the value of NIXFLEET_TOKEN is a line end, which no \
             token has",
        ),
        (
            b"# token\ns3cret\n",
            "holds something else than a token: character 2 is a blank, which no token has",
        ),
        (
            b"s3\x07cret",
            "holds something else than a token: character 3 is a control character, which no token has",
        ),
        (b"s3cr\xc3\xa9t", "holds something else than a token: character 5 is not ASCII, which no token has"),
    ] {
        let (given, file) = with_file(content);
        let shown = String::from_utf8_lossy(content);
        let error = Config::check(&given.source).unwrap_err().to_string();
        assert_eq!(error, format!("token_file: {} {wanted} {END}", file.display()), "{shown:?}");
        // The file may be replaced while the agent runs.
        given.loads();
    }
    let (given, file) = with_file(&[b'x'; 16 * 1024 + 1]);
    let error = Config::check(&given.source).unwrap_err().to_string();
    let wanted =
        format!("token_file: cannot read the token file {}: longer than 16384 bytes {END}", file.display());
    assert_eq!(error, wanted);
}

#[test]
fn a_file_that_is_absent_is_only_a_warning() {
    let (given, file) = with_file(b"");
    fs::remove_file(&file).unwrap();
    let warning = format!("token_file: {} does not exist on this machine", file.display());
    assert_eq!(Config::check(&given.source).unwrap().warnings, [warning]);
}

#[test]
fn a_credential_is_checked_like_a_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("token"), "NIXFLEET_TOKEN=a b\n").unwrap();
    let credentials = [("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())];
    let given = Given::new("", &credentials).without("NIXFLEET_TOKEN");
    let error = Config::check(&given.source).unwrap_err().to_string();
    assert!(error.starts_with("token: ") && error.contains("/token holds something else"), "{error}");
}

/// Text around a token, of the kinds that files with variables have.
fn around() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("NIXFLEET_TOKEN"),
        Just("NIXFLEET_URL"),
        Just("export "),
        Just("="),
        Just("'"),
        Just("\""),
        Just("\\"),
        Just("\n"),
        Just("\r"),
        Just(" "),
        Just("#"),
        Just(";"),
        Just("\u{7f}"),
        Just("\u{e9}"),
        Just("x"),
    ];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn no_token_panics_or_is_shown(before in around(), within in around(), behind in around(), noise in prop::collection::vec(any::<u8>(), 0..40)) {
        // Two parts of a token, so that one that is split by something else does not show either.
        let content = format!("{before}s3cr3tS3CR3T{within}t0k3nT0K3N{behind}");
        for content in [content.as_bytes(), &[content.as_bytes(), &noise].concat(), &noise] {
            let (given, _) = with_file(content);
            let source = given.loads().connection.token;
            let read = source.read();
            let mut said = format!("{read:?} {:?}", Config::check(&given.source));
            match read {
                Ok(token) => {
                    prop_assert!(token.expose().bytes().all(|byte| byte.is_ascii_graphic()));
                    said.extend(token.warning().map(str::to_owned));
                }
                Err(error) => said.push_str(&error.to_string()),
            }
            for part in ["s3cr3t", "S3CR3T", "t0k3n", "T0K3N"] {
                prop_assert!(!said.contains(part), "{}", said);
            }
        }
    }
}

#[test]
fn quotes_around_a_token_are_a_warning_that_does_not_show_it() {
    for content in ["\"s3cret\"\n", "'s3cret'"] {
        let (given, file) = with_file(content.as_bytes());
        let warnings = Config::check(&given.source).unwrap().warnings;
        let wanted = format!(
            "The token in {} is in quotes, which are sent with it; remove them from there.",
            file.display()
        );
        assert_eq!(warnings, [wanted]);
    }
}
