//! Warnings and hints about words.

use super::*;

#[test]
fn unknown_variables_are_a_warning_with_the_nearest_name() {
    let given = Given::new(
        "",
        &[
            ("NIXFLEET_INTERVALL", "5"),
            ("NIXFLEET_TOKEN_FIL", "x"),
            ("NIXFLEET_SOMETHING_ELSE_OF_OLD", "x"),
            ("NIXFLEET_FOO", "x"),
            ("NIXFLEET_EMPTY", ""),
            ("NIXFLEET_NIXCFG", "/cfg"),
            ("NIXFLEET_TOKEN_CACHE", "/var/lib/old/token"),
            ("PATH", "/bin"),
        ],
    );
    given.loads();
    assert_eq!(
        environment::warnings(&given.source),
        [
            "NIXFLEET_NIXCFG is the old name of NIXFLEET_REPO_DIR; use that one.",
            "NIXFLEET_TOKEN_CACHE named the file in which an old agent kept its token, and is ignored; unset it, and remove that file.",
            "NIXFLEET_FOO is not a setting and is ignored.",
            "NIXFLEET_INTERVALL is not a setting and is ignored; did you mean NIXFLEET_INTERVAL?",
            "NIXFLEET_SOMETHING_ELSE_OF_OLD is not a setting and is ignored.",
            "NIXFLEET_TOKEN_FIL is not a setting and is ignored; did you mean NIXFLEET_TOKEN_FILE?",
        ]
    );
}

#[test]
fn log_levels_are_taken_in_every_case() {
    for (given, wanted) in [
        ("WARNING", "warn"),
        ("Debug", "debug"),
        ("Info, nixfleet_agent::link = DEBUG", ""),
        ("INFO,nixfleet_agent::link=TRACE", "info,nixfleet_agent::link=trace"),
        ("rustls=off", "rustls=off"),
    ] {
        let given = Given::new("", &[("NIXFLEET_LOG_LEVEL", given)]);
        match wanted {
            "" => drop(given.fails()),
            wanted => {
                let config = given.loads();
                assert_eq!((config.host.log_level.as_str(), config.warnings.len()), (wanted, 0));
            }
        }
    }
}

#[test]
fn an_unknown_log_level_is_refused_with_the_nearest_one() {
    const ALL: &str = "off, error, warn, info, debug, trace";
    for (given, part, near) in [
        ("loud", "loud", None),
        ("verbose", "verbose", Some("debug")),
        ("warn,foo", "foo", None),
        ("inof", "inof", Some("info")),
        ("Fatal", "fatal", Some("error")),
        ("nixfleet_jobs=infos", "nixfleet_jobs=infos", Some("info")),
        ("=info", "=info", None),
    ] {
        let fix = match near {
            Some(near) => format!("did you mean {near}? The levels are {ALL}"),
            None => format!("set it to one of {ALL}"),
        };
        assert_eq!(
            Given::new("", &[("NIXFLEET_LOG_LEVEL", given)]).fails(),
            format!("log_level: {part:?} is not a level (environment variable NIXFLEET_LOG_LEVEL); {fix}")
        );
    }
}

#[test]
fn a_misspelt_target_of_the_log_is_a_warning() {
    for (given, wanted) in [
        (
            "info,nixfleet_agnt::link=debug",
            Some(
                "log_level: \"nixfleet_agnt::link\" is no part of the agent, so this level changes nothing (FILE); did you mean nixfleet_agent=debug?",
            ),
        ),
        (
            "nixfleet=debug",
            Some(
                "log_level: \"nixfleet\" is no part of the agent, so this level changes nothing (FILE); did you mean nixfleet_agent=debug?",
            ),
        ),
        ("tokio_tungstenite=debug,hyper=off", None),
        ("nixfleet_vitals::gpu=debug", None),
    ] {
        let given = Given::new(&format!("log_level = '{given}'"), &[]);
        let file = given.folder.path().join("agent.toml");
        let said: Vec<String> =
            given.loads().warnings.iter().map(|line| line.replace(file.to_str().unwrap(), "FILE")).collect();
        assert_eq!(said, wanted.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn checks_of_a_way_back_that_is_off_are_a_warning() {
    let checks = "checks = [{ run = ['true'] }]\n";
    let warnings = |settings: &str| Given::new(&format!("[rollback]\n{settings}"), &[]).loads().warnings;
    assert_eq!(warnings(&format!("{checks}confirm_timeout = 60\n")), [] as [&str; 0]);
    let said = warnings(checks);
    assert_eq!(said.len(), 1);
    assert!(
        said[0].starts_with("rollback.checks: has no effect without rollback.confirm_timeout"),
        "{said:?}"
    );
}

#[test]
fn words_that_dashboards_do_not_know_are_a_warning() {
    for (name, value, wanted) in [
        ("LOCATION", "home", None),
        (
            "LOCATION",
            "Home",
            Some("location: \"Home\" is not one of home, work, cloud (V); did you mean \"home\"?"),
        ),
        (
            "LOCATION",
            "office",
            Some(
                "location: \"office\" is not one of home, work, cloud (V); it is sent as it is, and a dashboard may not show it",
            ),
        ),
        (
            "LOCATION",
            "hmoe",
            Some("location: \"hmoe\" is not one of home, work, cloud (V); did you mean \"home\"?"),
        ),
        (
            "DEVICE_TYPE",
            "sever",
            Some(
                "device_type: \"sever\" is not one of server, desktop, laptop, gaming (V); did you mean \"server\"?",
            ),
        ),
        (
            "DEVICE_TYPE",
            "labtop",
            Some(
                "device_type: \"labtop\" is not one of server, desktop, laptop, gaming (V); did you mean \"laptop\"?",
            ),
        ),
        ("THEME_COLOR", "#7aa2f7", None),
        ("THEME_COLOR", "#FFF", None),
        (
            "THEME_COLOR",
            "7aa2f7",
            Some("theme_color: \"7aa2f7\" is neither #rrggbb nor #rgb (V); write it as \"#7aa2f7\""),
        ),
        (
            "THEME_COLOR",
            "blue",
            Some("theme_color: \"blue\" is neither #rrggbb nor #rgb (V); write it as \"#7aa2f7\""),
        ),
    ] {
        let name = format!("NIXFLEET_{name}");
        let config = Given::new("", &[(&name, value)]).loads();
        let said: Vec<String> = config
            .warnings
            .iter()
            .map(|line| line.replace(&format!("environment variable {name}"), "V"))
            .collect();
        assert_eq!(said, wanted.into_iter().collect::<Vec<_>>());
        assert!(
            [config.host.location, config.host.device_type, config.host.theme_color]
                .contains(&value.to_owned())
        );
    }
}
