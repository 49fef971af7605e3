use proptest::prelude::*;

use super::*;
use crate::lines::MAX_LINE_BYTES;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../../tests/fixtures/nix/", $name))
    };
}

/// What NixOS's activation writes.
const ACTIVATION: &str = "updating GRUB 2 menu...\n\
    stopping the following units: nginx.service\n\
    activating the configuration...\n\
    setting up /etc...\n\
    reloading the following units: dbus.service\n\
    starting the following units: nginx.service\n\
    Done. The new configuration is /nix/store/h-nixos-system-web-1-26.05\n";

/// Reads bytes as they come from a pipe; gives the text shown, and each state that differs from
/// the one before it.
fn read(chunks: &[&[u8]]) -> (String, Vec<String>) {
    let mut phases = Phases::new(false);
    let mut states = vec![state(&phases)];
    let mut text = String::new();
    let mut lines = Lines::default();
    let mut take = |piece: Piece<'_>| {
        phases.read(Source::Stderr, &piece, &mut |shown| {
            text.push_str(&shown.text);
            if !shown.cont {
                text.push('\n');
            }
        });
        let changed = phases.changed();
        let state = state(&phases);
        if states.last() != Some(&state) {
            assert!(changed, "{state}");
            states.push(state);
        }
    };
    for chunk in chunks {
        lines.push(chunk, &mut take);
    }
    lines.finish(&mut take);
    (text, states)
}

fn state(phases: &Phases) -> String {
    format!("{} {}", phases.phase().name(), phases.detail()).trim_end().to_owned()
}

fn states(text: &str) -> Vec<String> {
    read(&[text.as_bytes()]).1
}

#[test]
fn a_plain_log_tells_what_is_begun() {
    let log = format!("building the system configuration...\n{}{ACTIVATION}", fixture!("build.log"));
    assert_eq!(
        states(&log),
        [
            "evaluate",
            "build 0/4 derivations",
            "build 1/4 derivations",
            "build 2/4 derivations",
            "build 3/4 derivations",
            "build 4/4 derivations",
            "activate"
        ]
    );
    assert_eq!(states(&format!("{}{log}", fixture!("build-with-logs.log"))).len(), 12, "nix runs twice");
}

#[test]
fn a_log_for_machines_tells_what_is_done() {
    let (text, states) = read(&[fixture!("build.json.log").as_bytes(), ACTIVATION.as_bytes()]);
    assert_eq!(
        states,
        [
            "evaluate",
            "build 0/4 derivations",
            "build 1/4 derivations",
            "build 2/4 derivations",
            "build 3/4 derivations",
            "build 4/4 derivations",
            "activate"
        ]
    );
    assert_eq!(text, format!("{}{ACTIVATION}", fixture!("build.log")));
}

#[test]
fn what_is_fetched_is_counted_while_nothing_is_built() {
    let fetched = [
        "evaluate",
        "build 0/4 paths",
        "build 1/4 paths",
        "build 2/4 paths",
        "build 3/4 paths",
        "build 4/4 paths",
    ];
    assert_eq!(states(fixture!("fetch.log")), fetched);
    assert_eq!(states(fixture!("fetch.json.log")), fetched);
    assert_eq!(
        states(
            "this derivation will be built:\nthese 2 paths will be fetched (1.00 MiB download, 2.00 MiB unpacked):\n\
             copying path '/nix/store/a' from 'https://c'...\nbuilding '/nix/store/b.drv'...\n\
             copying path '/nix/store/c' from 'https://c'...\n"
        ),
        ["evaluate", "build 0/1 derivations", "build 0/2 paths", "build 1/2 paths", "build 1/1 derivations"]
    );
}

#[test]
fn a_failed_build_ends_in_its_phase() {
    assert_eq!(
        states(fixture!("failed.log")),
        ["evaluate", "build 0/2 derivations", "build 1/2 derivations"],
        "one was begun"
    );
    assert_eq!(states(fixture!("failed.json.log")), ["evaluate", "build 0/2 derivations"], "none is done");
    assert_eq!(states(fixture!("missing.log")), ["evaluate"]);
    assert_eq!(states(fixture!("missing.json.log")), ["evaluate"]);
}

#[test]
fn lines_are_known_by_their_beginning() {
    for (line, expected) in [
        ("these 41 derivations will be built:", Some(Sign::Derivations(41))),
        ("this derivation will be built:", Some(Sign::Derivations(1))),
        ("these 120 paths will be fetched (12.00 MiB download, 60.00 MiB unpacked):", Some(Sign::Paths(120))),
        ("this path will be fetched (0.00 MiB download, 0.01 MiB unpacked):", Some(Sign::Paths(1))),
        ("these derivations will be built:", None),
        ("these are derivations", None),
        ("building '/nix/store/h-x.drv'...", Some(Sign::Building)),
        ("building '/nix/store/h-x.drv' on 'ssh://builder'...", Some(Sign::Building)),
        ("building '/nix/store/h-x'...", None),
        ("building the system configuration...", None),
        ("copying path '/nix/store/h-x' from 'https://cache.nixos.org'...", Some(Sign::Fetching)),
        ("copying path '/nix/store/h-x' to 'ssh://other'...", None),
        ("activating the configuration...", Some(Sign::Activating)),
        ("would activate the configuration...", None),
        ("stopping the following units: a.service", Some(Sign::Activating)),
        ("stopping swap device: /dev/sda2", Some(Sign::Activating)),
        ("updating GRUB 2 menu...", Some(Sign::Activating)),
        (
            "Copied \"/nix/store/h/systemd-bootx64.efi\" to \"/boot/EFI/systemd/systemd-bootx64.efi\".",
            Some(Sign::Activating),
        ),
        ("Starting Home Manager activation", Some(Sign::Activating)),
        (" activating the configuration...", None),
        ("x> activating the configuration...", None),
        ("", None),
        ("é", None),
    ] {
        assert_eq!(sign(line), expected, "{line}");
    }
}

#[test]
fn a_phase_never_goes_back() {
    let log = format!("{ACTIVATION}{}{}", fixture!("build.log"), fixture!("build.json.log"));
    assert_eq!(states(&log), ["evaluate", "activate"]);
}

#[test]
fn a_builder_that_writes_what_activations_write_is_no_activation() {
    let line = r#"@nix {"action":"msg","level":0,"msg":"activating the configuration..."}"#;
    assert_eq!(states(&format!("{line}\n")), ["evaluate"]);
}

#[test]
fn counts_of_an_earlier_run_do_not_stay_behind_a_new_announcement() {
    let log = "this derivation will be built:\nbuilding '/nix/store/a.drv'...\n\
               these 3 derivations will be built:\nbuilding '/nix/store/b.drv'...\n";
    assert_eq!(
        states(log),
        [
            "evaluate",
            "build 0/1 derivations",
            "build 1/1 derivations",
            "build 0/3 derivations",
            "build 1/3 derivations"
        ]
    );
    let fetched = "this path will be fetched (0.00 MiB download, 0.01 MiB unpacked):\n\
                   copying path '/nix/store/a' from 'https://c'...\n";
    let built = "these 3 derivations will be built:\n";
    assert_eq!(states(&format!("{fetched}{built}")).last().unwrap(), "build 0/3 derivations");
    let begun = "building '/nix/store/b.drv'...\n";
    assert_eq!(states(&format!("{built}{begun}{fetched}")).last().unwrap(), "build 1/1 paths");
    let unannounced = "building '/nix/store/a.drv'...\n";
    assert_eq!(states(unannounced), ["evaluate", "build"], "of how many is not known");
}

#[test]
fn an_announcement_counts_for_more_than_what_nix_expects_meanwhile() {
    let begin = "@nix {\"action\":\"start\",\"id\":1,\"level\":0,\"text\":\"\",\"type\":104}\n";
    let counts = |done: u64, expected: u64| {
        format!("@nix {{\"action\":\"result\",\"id\":1,\"type\":105,\"fields\":[{done},{expected},1,0]}}\n")
    };
    let work = [counts(0, 1), counts(1, 5), counts(1, 0), counts(2, 2)].concat();
    assert_eq!(
        states(&format!("these 3 derivations will be built:\n{begin}{work}")),
        ["evaluate", "build 0/3 derivations", "build 1/3 derivations", "build 2/3 derivations"]
    );
    assert_eq!(
        states(&format!("building '/nix/store/x.drv'...\n{begin}{work}")),
        ["evaluate", "build", "build 0/1 derivations", "build 1/5 derivations", "build 2/2 derivations"],
        "without one there is nothing better"
    );
    let over = "@nix {\"action\":\"stop\",\"id\":1}\n";
    assert_eq!(
        states(&format!("these 3 derivations will be built:\n{begin}{over}{begin}{}", counts(1, 7)))
            .last()
            .unwrap(),
        "build 1/7 derivations",
        "it was one of an earlier run"
    );
}

#[test]
fn both_streams_are_read_and_neither_cuts_into_the_other() {
    let mut phases = Phases::new(false);
    let mut shown = Vec::new();
    let mut emit = |piece: &Piece<'_>| shown.push((piece.text.clone().into_owned(), piece.cont));
    let piece = |text: &'static str, cont| Piece { text: Cow::Borrowed(text), cont };
    phases.read(Source::Stderr, &piece("@nix {\"action\":\"msg\",\"level\":0,", true), &mut emit);
    phases.read(Source::Stdout, &piece("out ", true), &mut emit);
    phases.read(Source::Stderr, &piece("\"msg\":\"whole\"}", false), &mut emit);
    phases.read(Source::Stdout, &piece("activating the configuration...", false), &mut emit);
    assert_eq!(phases.phase(), Phase::Evaluate, "that was the end of a line");
    phases.read(Source::Stdout, &piece("activating the configuration...", false), &mut emit);
    assert_eq!(phases.phase(), Phase::Activate);
    assert_eq!(shown[0], ("out ".to_owned(), true));
    assert_eq!(shown[1], ("whole".to_owned(), false));
}

#[test]
fn a_long_message_is_put_together_and_cut_again() {
    let long = "é".repeat(3 * MAX_LINE_BYTES);
    let line = format!("@nix {{\"action\":\"msg\",\"level\":0,\"msg\":\"{long}\\nend\"}}\n");
    assert_eq!(read(&[line.as_bytes()]).0, format!("{long}\nend\n"));
    let mut lines = Lines::default();
    let mut phases = Phases::new(false);
    lines.push(line.as_bytes(), &mut |piece| {
        phases.read(Source::Stderr, &piece, &mut |shown| assert!(shown.text.len() <= MAX_LINE_BYTES));
    });
}

#[test]
fn a_message_beyond_all_measure_is_shown_as_it_is() {
    let line = format!("@nix {{\"action\":\"msg\",\"level\":0,\"msg\":\"{}\"}}\n", "x".repeat(2 * MAX_EVENT));
    let next = "@nix {\"action\":\"msg\",\"level\":0,\"msg\":\"next\"}\n";
    assert_eq!(read(&[line.as_bytes(), next.as_bytes()]).0, format!("{line}next\n"));
}

#[test]
fn a_line_without_its_end_is_shown_as_it_is() {
    let log = fixture!("build.json.log");
    let torn = &log[..log.find("will be built").unwrap()];
    let (text, _) = read(&[torn.as_bytes()]);
    assert_eq!(text, format!("{}\n", torn.lines().last().unwrap()));
}

proptest! {
    #[test]
    fn however_it_is_cut_the_same_is_read(cuts in prop::collection::vec(1usize..300, 1..20), machine in any::<bool>()) {
        let log = if machine { fixture!("failed.json.log") } else { fixture!("failed.log") };
        let mut rest = log.as_bytes();
        let mut chunks = Vec::new();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break }
            let (chunk, tail) = rest.split_at((*cut).min(rest.len()));
            chunks.push(chunk);
            rest = tail;
        }
        prop_assert_eq!(read(&chunks), read(&[log.as_bytes()]));
    }

    #[test]
    fn garbage_between_the_lines_changes_nothing_and_arrives_as_it_is(
        garbage in prop::collection::vec("[^\r\n]{0,60}", 80), machine in any::<bool>()
    ) {
        let log = if machine { fixture!("build.json.log") } else { fixture!("build.log") };
        let garbage: Vec<&String> = garbage.iter().filter(|line| sign(line).is_none()).collect();
        let mut mixed = String::new();
        for (index, line) in log.lines().enumerate() {
            mixed += &format!("{line}\n");
            if let Some(garbage) = garbage.get(index) {
                mixed += &format!("{garbage}\n");
            }
        }
        let (text, states) = read(&[mixed.as_bytes()]);
        prop_assert_eq!(states, read(&[log.as_bytes()]).1);
        let shown: Vec<&str> = text.lines().collect();
        prop_assert!(garbage.iter().take(log.lines().count()).all(|line| shown.contains(&line.as_str())));
        prop_assert_eq!(text.find("@nix {\"action\""), None);
    }

    #[test]
    fn no_input_panics_or_goes_back(chunks in prop::collection::vec(prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        Just(b"@nix {\"action\":\"start\",\"id\":1,\"type\":104}\n".to_vec()),
        Just(b"@nix {\"action\":\"result\",\"id\":1,\"type\":105,\"fields\":[9,1,18446744073709551615,1]}\n".to_vec()),
        Just(b"these 18446744073709551615 derivations will be built:\n".to_vec()),
        Just(b"building '/nix/store/x.drv'...\n".to_vec()),
        Just(b"activating the configuration...\n".to_vec()),
    ], 0..40)) {
        let views: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        let (_, states) = read(&views);
        let order: Vec<_> = states.iter().map(|state| match state.as_bytes()[0] {
            b'e' => 0,
            b'b' => 1,
            _ => 2,
        }).collect();
        prop_assert!(order.is_sorted(), "{states:?}");
    }
}
