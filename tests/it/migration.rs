//! docs/migration.md: every row of its tables is tested.

use std::collections::BTreeSet;
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};

mod checks;

/// What proves a row.
#[derive(Clone, Copy)]
enum Proof {
    /// A test, by its name: a function of Rust, an attribute of nix/module-check, a step of nix/tests, or
    /// the sentence of a check in tests/systemd/checks.py.
    Test(&'static str),
    /// A test in nix/module-check whose text contains this.
    Nix(&'static str, &'static str),
    /// A function of `checks.rs`.
    Here(fn()),
}

use Proof::{Here, Nix, Test};

/// The test of the setting `generation`.
const GENERATION: &str =
    "the_generation_is_one_commit_in_every_message_the_deployed_one_or_that_of_the_checkout";

/// The test of every command, with part of its answer.
const CONVERSATION: &str = "every_command_is_answered_as_existing_dashboards_need_it";

/// The test of the options that the Go agent had.
const OLD_OPTIONS: &str = "the_options_of_the_go_agent_do_what_they_did";

/// Each row by its first cell, or by the second if the first is empty.
const ROWS: &[(&str, &[Proof])] = &[
    // nixfleet-agent migrate
    ("`--unit FILE`", &[Test("systemd_is_asked_for_the_unit_and_a_persons_unit_is_pointed_out")]),
    ("`--env-file FILE`", &[Test("a_usual_unit_becomes_a_file_that_check_config_accepts")]),
    ("`--root DIR`", &[Test("systemd_is_asked_for_the_unit_and_a_persons_unit_is_pointed_out")]),
    ("`--nixos`, `--toml`", &[Test("on_nixos_the_options_of_the_module_are_printed")]),
    ("`--write`", &[Test("nothing_that_exists_is_overwritten_and_nothing_incomplete_is_written")]),
    // Options
    ("`enable`, `url`, `location`, `deviceType`, `themeColor`", &[Test("testFullSettings")]),
    (
        "`tokenFile`",
        &[Test("a_bare_token_is_itself_and_an_environment_file_is_understood"), Here(checks::token_files)],
    ),
    ("`interval`", &[Nix("testMinimalSettings", "interval = 30;")]),
    ("`hostname`", &[Nix("testHostnames", "\"web_1.example.org\""), Here(checks::hostnames)]),
    ("`logLevel`", &[Test("testTheAgentChecksTheFile"), Here(checks::log_levels)]),
    ("`repoUrl`", &[Nix("testRenamedOptions", "repoUrl -> repo.url")]),
    ("`configRepo`", &[Nix("testRenamedOptions", "configRepo -> repo.dir"), Here(checks::two_places)]),
    ("`branch`", &[Nix("testRenamedOptions", "branch -> repo.branch")]),
    ("`sshKeyFile`", &[Nix("testRenamedOptions", "sshKeyFile -> repo.sshKeyFile")]),
    ("`nixpkgsVersion`", &[Nix("testRemovedOptions", "nixpkgsVersion = ")]),
    ("`user`", &[Nix("testRemovedOptions", "user = ")]),
    ("`version`", &[Nix("testRemovedOptions", "reported_version")]),
    ("new: `repo.*`", &[Nix("testFullSettings", "reboot.enable = true;")]),
    // Other ways to run it
    ("Home Manager: a user unit", &[Test("systemd_is_asked_for_the_unit_and_a_persons_unit_is_pointed_out")]),
    ("launchd on macOS", &[Test("what_cannot_be_read_or_meant_is_told")]),
    ("`nixfleet-agent --check`", &[Test(OLD_OPTIONS)]),
    ("`nixfleet-agent -v`", &[Test(OLD_OPTIONS)]),
    (
        "other arguments in `ExecStart=`",
        &[
            Test("units_that_would_stay_in_force_and_arguments_that_are_not_here_are_named"),
            Test("help_and_version_are_no_mistakes_and_wrong_usage_is"),
        ],
    ),
    // Variables
    (
        "`NIXFLEET_URL`, `NIXFLEET_REPO_URL`, `NIXFLEET_REPO_DIR`, `NIXFLEET_BRANCH`, `NIXFLEET_SSH_KEY`",
        &[Test("every_key_can_be_set_in_the_file_and_by_a_variable"), Here(checks::unencrypted)],
    ),
    ("`NIXFLEET_REPO_URL` and `NIXFLEET_REPO_DIR` together", &[Here(checks::two_places)]),
    (
        "`NIXFLEET_REPO_URL` with an SSH address and without a key",
        &[
            Test("keys_checkouts_and_sudo_rules_of_the_old_user_are_named"),
            Test("a_plain_pull_by_root_is_its_owners_and_a_switch_may_read_their_folder"),
        ],
    ),
    ("`NIXFLEET_NIXCFG`", &[Test("the_newest_name_of_a_variable_wins"), Here(checks::old_names)]),
    ("`NIXFLEET_TOKEN`", &[Test("the_token_is_read_anew_and_never_shown"), Here(checks::token_files)]),
    ("`NIXFLEET_TOKEN_CACHE`", &[Here(checks::old_names)]),
    ("`NIXFLEET_INTERVAL`", &[Here(checks::intervals)]),
    ("`NIXFLEET_LOG_LEVEL`", &[Here(checks::log_levels)]),
    ("`NIXFLEET_HOSTNAME`", &[Here(checks::hostnames)]),
    ("`NIXFLEET_NIXPKGS_VERSION`", &[Test("the_setting_wins_over_the_systems_version")]),
    (
        "`NIXFLEET_THEME_COLOR`, `NIXFLEET_LOCATION`, `NIXFLEET_DEVICE_TYPE`",
        &[Test("every_key_can_be_set_in_the_file_and_by_a_variable")],
    ),
    ("other names with `NIXFLEET_`", &[Test("unknown_variables_are_a_warning_with_the_nearest_name")]),
    ("new: `NIXFLEET_STATE_DIR`", &[Test("the_page_names_every_setting")]),
    // What is different
    ("commands", &[Test("a command runs as root in a cgroup of its own; output and status arrive")]),
    ("rights", &[Test("polkit lets the agent's user do nothing else")]),
    (
        "`stop`, `kill_command`",
        &[
            Test("stop_ends_the_whole_tree_and_not_the_agent"),
            Test("kill_command_ends_the_running_command_and_no_other_process"),
            Test("an_activation_is_not_stopped_half_way_unless_forced"),
        ],
    ),
    ("`reboot`", &[Test("a_reboot_is_refused_unless_the_operator_allowed_it")]),
    (
        "`pull`, isolated",
        &[
            Test("a_corrupt_clone_is_moved_aside_and_cloned_anew"),
            Test("a_clone_that_cannot_be_read_is_not_given_up"),
        ],
    ),
    ("a missing clone", &[Test("a_missing_clone_is_made_unasked_and_tried_again_while_beats_go_on")]),
    ("SSH host keys", &[Test("git_never_waits_for_a_password_and_nothing_asks_to_trust_any_host")]),
    ("`test`", &[Test("test_runs_every_script_even_after_a_failure_and_reports_progress")]),
    ("after `switch`", &[Test("the new unit and the new program run")]),
    ("exit codes 2 and 4 of a switch", &[Test("a_switch_with_failed_units_is_told_as_what_it_is")]),
    ("two commands at once", &[Test("t02_scenario_7_concurrent_command_rejection")]),
    (
        "output",
        &[
            Test("a_line_of_a_mebibyte_arrives_whole"),
            Test("four_cuts_in_the_middle_of_a_flood_lose_no_line"),
        ],
    ),
    ("final status", &[Test("a_command_that_ends_while_the_connection_is_down_is_told_once_it_is_back")]),
    ("`generation`", &[Test("the_noted_commit_counts_while_its_system_runs"), Here(checks::generation)]),
    (
        "`metrics`",
        &[Test("hour_old_readings_are_not_reported_as_fresh"), Test("t02_scenario_4_without_metrics")],
    ),
    ("heartbeats", &[Test("the_first_beat_is_immediate_and_the_rest_keep_the_grid")]),
    ("return after an outage", &[Test("the_envelope_doubles_up_to_a_minute")]),
    ("the token", &[Test("the_token_is_in_no_childs_environment_and_in_no_file_of_the_job")]),
    (
        "`NIXFLEET_INTERVAL=0` and other wrong settings",
        &[Test("wrong_settings_are_named_with_their_origin_and_exit_64")],
    ),
    // Commands
    ("`force-update`", &[Test(CONVERSATION)]),
    ("`bump-flake`", &[Test(CONVERSATION)]),
    ("`force-rebuild`", &[Test(CONVERSATION)]),
    // Messages
    (
        "the heartbeat behind the status of a job",
        &[Test("a_pull_with_a_new_flake_lock_is_complete_with_the_heartbeat_behind_its_status")],
    ),
    (
        "the heartbeat behind a good `rollback`",
        &[Test("the_heartbeat_that_completes_a_rollback_calls_it_good_and_the_next_one_outdated")],
    ),
    (
        "`register` before the first clone",
        &[Test("a_host_without_a_checkout_reports_no_generation_and_not_a_word")],
    ),
    ("`deployed` (default)", &[Test(GENERATION)]),
    ("`checkout`", &[Test(GENERATION), Here(checks::generation)]),
    // Left behind
    (
        "its checkout in `/var/lib/nixfleet-agent/repo`",
        &[
            Test("keys_checkouts_and_sudo_rules_of_the_old_user_are_named"),
            Test("a_clone_of_another_user_is_left_to_them"),
        ],
    ),
    (
        "sudo rules that let its user run `nixos-rebuild`, `systemctl`, `reboot` or git without a password",
        &[Test("keys_checkouts_and_sudo_rules_of_the_old_user_are_named")],
    ),
    ("its user, where it had one for itself", &[Test("testUserFoldersAndRule")]),
    ("a file with variables that holds the token", &[Test("the_token_is_told_by_its_place_and_never_shown")]),
    (
        "host keys that ssh learned for root or for its user",
        &[Test("git_never_waits_for_a_password_and_nothing_asks_to_trust_any_host")],
    ),
    (
        "a copy of its unit or a drop-in for it in `/etc/systemd/system`",
        &[Test("units_that_would_stay_in_force_and_arguments_that_are_not_here_are_named")],
    ),
    // Units
    ("`nixfleet-agent.service`", &[Test("the agent is READY without a dashboard")]),
    (
        "`nixfleet-job@<command>-<id>.service`",
        &[
            Test("testJobUnit"),
            Test("a command runs as root in a cgroup of its own; output and status arrive"),
        ],
    ),
    (
        "`nixfleet-heartbeat.service`",
        &[Test("the heartbeat needs no dashboard, is read again on reload, and is locked in")],
    ),
];

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The first cell of each row of each table; the beginning of the second if the first is empty.
fn rows(page: &str) -> Vec<String> {
    let mut rows = Vec::new();
    let mut in_table = false;
    for line in page.lines() {
        let Some(cells) = line.strip_prefix('|') else {
            in_table = false;
            continue;
        };
        if !in_table {
            in_table = true;
            continue;
        }
        let mut cells = cells.split('|').map(str::trim);
        match cells.next() {
            Some(cell) if cell.starts_with("---") => {}
            Some("") => rows.push(cells.next().unwrap().split(',').next().unwrap().to_owned()),
            Some(cell) => rows.push(cell.to_owned()),
            None => {}
        }
    }
    rows
}

/// All tests by their names.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for folder in ["src", "crates", "tests/it"] {
        read_tests(&repository(folder), &mut names);
    }
    let checks = fs::read_to_string(repository("tests/systemd/checks.py")).unwrap();
    names
        .extend(checks.split("\n@check(").filter_map(|check| Some(check.split("\"\"\"").nth(1)?.to_owned())));
    names.extend(
        module_check()
            .lines()
            .filter_map(|line| line.strip_prefix("  ")?.strip_suffix(" = {"))
            .map(str::to_owned),
    );
    for file in fs::read_dir(repository("nix/tests")).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let text = fs::read_to_string(path).unwrap();
            let steps = text.split("with step(\"").skip(1);
            names.extend(steps.map(|part| part.split('"').next().unwrap().to_owned()));
        }
    }
    names
}

/// The files of nix/module-check, one behind the other.
fn module_check() -> String {
    let files = fs::read_dir(repository("nix/module-check")).unwrap();
    files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect()
}

fn read_tests(folder: &Path, names: &mut BTreeSet<String>) {
    for item in fs::read_dir(folder).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() {
            read_tests(&path, names);
        } else if path.extension() == Some("rs".as_ref()) {
            let text = fs::read_to_string(path).unwrap();
            // Behind the attribute, up to the parenthesis: other attributes, `async`, `fn` and the name.
            let tests = text.split("test]\n").skip(1).chain(text.split("#[tokio::test(").skip(1));
            names.extend(tests.filter_map(|part| {
                let (before, _) = part.split_once("() {").or_else(|| part.split_once("() -> "))?;
                Some(before.rsplit_once("fn ")?.1.to_owned()).filter(|name| !name.contains('\n'))
            }));
        }
    }
}

fn is_proved(proof: Proof, tests: &BTreeSet<String>) -> Result<(), String> {
    match proof {
        Test(name) => tests.contains(name).then_some(()).ok_or(format!("there is no test {name}")),
        Nix(name, text) => {
            let module = module_check();
            let test = module.split(&format!("\n  {name} = {{\n")).nth(1);
            let body = test.and_then(|rest| rest.split("\n  };\n").next()).unwrap_or_default();
            body.contains(text).then_some(()).ok_or(format!("{name} does not have {text}"))
        }
        Here(check) => panic::catch_unwind(check).map_err(|_| "see the panic above".to_owned()),
    }
}

#[test]
fn every_row_of_the_page_is_tested() {
    let page = fs::read_to_string(repository("docs/migration.md")).unwrap();
    let on_page = rows(&page);
    let known: Vec<&str> = ROWS.iter().map(|(row, _)| *row).collect();
    let missing: Vec<&String> = on_page.iter().filter(|row| !known.contains(&row.as_str())).collect();
    assert!(missing.is_empty(), "rows without a test in ROWS: {missing:#?}");
    let gone: Vec<&&str> =
        known.iter().filter(|row| on_page.iter().all(|on_page| on_page != **row)).collect();
    assert!(gone.is_empty(), "not on the page any more: {gone:#?}");
    assert_eq!(known.iter().collect::<BTreeSet<_>>().len(), on_page.len(), "each row once");

    let tests = tests();
    assert!(tests.len() > 600, "tests are not found any more");
    let mut wrong = Vec::new();
    for (row, proofs) in ROWS {
        let failed: Vec<String> = proofs.iter().filter_map(|proof| is_proved(*proof, &tests).err()).collect();
        if !failed.is_empty() || proofs.is_empty() {
            wrong.push(format!("{row}: {}", failed.join(", ")));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn rows_are_found_in_every_table() {
    let page =
        "text\n\n| a | b |\n| --- | --- |\n| `x` | 1 |\n| | new: `y`, more |\nend\n| c |\n|---|\n| z, w |\n";
    assert_eq!(rows(page), ["`x`", "new: `y`", "z, w"]);
}
