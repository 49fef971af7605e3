//! Pages, to the letter.

use nixfleet_protocol::NextBoot;

use super::*;
use crate::observe::stats::Stats;
use crate::observe::status::{CertificateReport, Collector, Connection, Lights, ProcessUsage};

const PLAIN: fn() -> Style = || Style { width: None, colours: false, zone: Zone::new(true), verbose: false };

/// The page with everything on it.
fn verbose(report: &Report) -> String {
    page(report, now(), &Style { verbose: true, ..PLAIN() })
}

fn short_page(report: &Report) -> String {
    page(report, now(), &PLAIN())
}

fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn busy() -> Report {
    let mut stats = Stats { beats: 12, registrations: 2, lines_sent: 40, ..Stats::default() };
    stats.late(Duration::from_millis(1));
    stats.ack_rtt.add(Duration::from_millis(3));
    stats.reconnect("closed");
    let finished = |command: &str, outcome: &str, exit_code| Finished {
        command: command.to_owned(),
        outcome: outcome.to_owned(),
        exit_code,
        ended_at: "2026-01-01T11:00:00Z".to_owned(),
        duration_ms: 61_000,
        message: if exit_code == 0 { String::new() } else { "T01 failed".to_owned() },
        ..Finished::default()
    };
    Report {
        version: "0.1.0".to_owned(),
        pid: 77,
        hostname: "web-1".to_owned(),
        dashboard: "wss://fleet.example.org/ws".to_owned(),
        started_at: "2026-01-01T10:00:00Z".to_owned(),
        metrics_at: Some("127.0.0.1:9464".to_owned()),
        connection: Connection {
            state: State::Connected,
            since: "2026-01-01T11:59:00Z".to_owned(),
            last_error: Some("cannot reach it\u{1b}[31m".to_owned()),
            last_error_at: Some("2026-01-01T11:58:30Z".to_owned()),
            ..Connection::default()
        },
        server: Some(server("degraded", "slow")),
        interval_s: 30,
        last_beat_at: Some("2026-01-01T11:59:48Z".to_owned()),
        ack_rtt_ms: Some(2.5),
        running: Some(Running {
            command: "switch".to_owned(),
            job_id: "01234567-0000-0000-0000-00000000abc2".to_owned(),
            pid: Some(4711),
            since: "2026-01-01T11:58:55Z".to_owned(),
            activity: Some(RunningActivity {
                phase: "build\u{1b}[31m".to_owned(),
                phase_since: Some("2026-01-01T11:59:05Z".to_owned()),
                last_output_at: Some("2026-01-01T11:59:48Z".to_owned()),
            }),
            detail: Some("3/41\u{7} derivations".to_owned()),
            ..Running::default()
        }),
        results: vec![finished("pull", "ok", 0), finished("test", "failed", 1)],
        stats,
        process: ProcessUsage {
            rss: Some(6_100_000),
            cpu_s: Some(1.5),
            open_files: Some(21),
            threads: Some(9),
        },
        collectors: [
            ("cpu".to_owned(), Collector { runs: 4, total_s: 0.001, ..Collector::default() }),
            ("units".to_owned(), Collector::default()),
        ]
        .into(),
        host: Some(host()),
        ..Report::default()
    }
}

fn host() -> HostReport {
    let light = |status: &str, message: &str| Light {
        status: status.to_owned(),
        message: message.to_owned(),
        checked_at: "2026-01-01T11:50:00Z".to_owned(),
    };
    HostReport {
        generation: "1d91f2b".to_owned(),
        nixpkgs_version: "26.05.20260714.7beb50e".to_owned(),
        source_commit: "c0ffee".to_owned(),
        lights: Lights {
            git: Light::default(),
            lock: light("ok", "flake.lock is as pulled with 1d91f2b"),
            system: light("outdated", "1d91f2b is in the checkout,\n\u{1b}[2J0badf00 is deployed"),
            tests: light("sideways", ""),
        },
        system: HostSystem {
            current: Some("/nix/store/one-nixos".to_owned()),
            booted: Some("/nix/store/one-nixos".to_owned()),
            repo_commit: Some("1d91f2b4c0ffee".to_owned()),
            reboot_required: Some(true),
            boots: Some(NextBoot { system: "/nix/store/two-nixos".to_owned(), ..NextBoot::default() }),
            ..HostSystem::default()
        },
        waits_for_boot: true,
    }
}

#[test]
fn the_page_says_first_what_is_up_then_what_runs_and_then_what_ended() {
    let wanted = "\
web-1: connected to wss://fleet.example.org/ws, for 1 min 0 s, round trip 2.5 ms
  dashboard   degraded: slow
  git         -         the checkout is at 1d91f2b; the dashboard compares it with the remote
  lock        ok        flake.lock is as pulled with 1d91f2b, checked 10 min 0 s ago
  system      outdated  1d91f2b is in the checkout, 0badf00 is deployed, checked 10 min 0 s ago
  tests       sideways  checked 10 min 0 s ago
  generation  1d91f2b, nixpkgs 26.05.20260714.7beb50e
  next boot   two-nixos
  reboot      needed: the next boot runs another system than the running one
  running     switch, process 4711, for 1 min 5 s, job 00000000abc2
              build, 3/41 derivations, for 55 s, silent for 12 s
  ended       test: failed (1), 1 h 0 min ago, took 1 min 1 s
              T01 failed
  last error  1 min 30 s ago: cannot reach it
";
    assert_eq!(short_page(&busy()), wanted);
    let wanted = "
  dashboard   degraded: slow
  reconnects  1 closed
  runs        /nix/store/one-nixos
  booted      /nix/store/one-nixos
  boots next  /nix/store/two-nixos
  agent       0.1.0, commit c0ffee, process 77, for 2 h 0 min, 6.1 MB, 1.50 s of processor time, 21 files, 9 threads
  metrics     http://127.0.0.1:9464/metrics
  heartbeats  12, the last 12 s ago, every 30 s; 0 late, 0 skipped; all within 1 ms of being due
  answers     1, 0 missing; all within 5 ms of being sent
  output      40 lines sent, 0 dropped
  queue       0 messages and 0 of output wait; 0 answers dropped
  looks       cpu                  4 x    0.250 ms, 0 errors, 0 timeouts
";
    let all = verbose(&busy());
    assert!(all.ends_with(wanted), "{all}");
    assert!(all.contains("              pull: ok (0), 1 h 0 min ago, took 1 min 1 s\n"), "{all}");
}

#[test]
fn the_page_in_the_documents_is_the_one_that_is_printed() {
    let mut report = busy();
    report.server = None;
    report.connection.last_error = Some("the dashboard closed it (1001: going away)".to_owned());
    let host = report.host.as_mut().unwrap();
    host.generation = "0badf00".to_owned();
    host.lights.tests.status = "unknown".to_owned();
    host.lights.tests.message = "not run yet".to_owned();
    host.system.boots.as_mut().unwrap().system = "/nix/store/one-nixos".to_owned();
    (host.waits_for_boot, host.system.reboot_required) = (false, Some(false));
    report.results.truncate(1);
    report.results[0].ended_at = "2026-01-01T11:50:00Z".to_owned();
    report.results[0].duration_ms = 3000;
    let documented = include_str!("../../../../docs/status.md");
    let page = short_page(&report);
    assert!(documented.contains(&format!("```text\n{page}```")), "docs/status.md does not have:\n{page}");
}

#[test]
fn what_is_unusual_is_said_once_and_what_is_usual_not_at_all() {
    let mut report = busy();
    report.client_certificate = Some(CertificateReport {
        file: "/etc/client.pem".to_owned(),
        not_before: "2025-01-01T00:00:00Z".to_owned(),
        not_after: "2026-01-05T00:00:00Z".to_owned(),
    });
    let light = &mut report.host.as_mut().unwrap().lights.tests;
    (light.status, light.checked_at) = ("working".to_owned(), "2026-01-01T11:59:00Z".to_owned());
    report.running.as_mut().unwrap().activity.as_mut().unwrap().last_output_at =
        Some("2026-01-01T11:59:51Z".to_owned());
    report.results.truncate(1);
    report.results[0].message = "Pull: at 1d91f2b".to_owned();
    for text in [short_page(&report), verbose(&report)] {
        for name in ["dashboard", "certificate"] {
            assert_eq!(text.matches(&format!("\n  {name} ")).count(), 1, "{name}: {text}");
        }
        assert!(text.contains("\n  tests       working   for 1 min 0 s\n"), "{text}");
        assert!(!text.contains("silent") && !text.contains("Pull: "), "{text}");
    }
}

#[test]
fn what_the_next_boot_runs_is_named_by_what_it_is() {
    let mut report = busy();
    let mut said = |next: &str, waits: bool, required| {
        let host = report.host.as_mut().unwrap();
        host.system.boots.as_mut().unwrap().system = format!("/nix/store/{next}");
        host.system.current = Some("/nix/store/now".to_owned());
        (host.waits_for_boot, host.system.reboot_required) = (waits, required);
        let page = short_page(&report);
        let rows = page.lines().filter(|line| line.contains("boot "));
        rows.map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(said("now", false, Some(false)), ["next boot   the running system"]);
    assert_eq!(
        said("one-nixos", false, Some(true)),
        [
            "next boot   the system that was booted, not the running one",
            "reboot      needed: kernel, initrd or kernel modules are others than those that were booted"
        ]
    );
    let mut report = busy();
    let host = report.host.as_mut().unwrap();
    (host.system.boots, host.waits_for_boot) = (None, false);
    let page = short_page(&report);
    assert!(!page.contains("next boot"), "{page}");
    assert!(page.contains("\n  reboot      needed: kernel, initrd or kernel modules are others"), "{page}");
}

#[test]
fn colours_are_for_words_and_change_no_column() {
    let style = Style { colours: true, width: Some(80), ..PLAIN() };
    let (painted, text) =
        (page(&busy(), now(), &style), page(&busy(), now(), &Style { colours: false, ..style.clone() }));
    assert_ne!(painted, text);
    assert_eq!(nixfleet_os::text::one_line(&painted, 10_000), nixfleet_os::text::one_line(&text, 10_000));
    for (paint, word) in [
        (Paint::Green, "connected"),
        (Paint::Green, "ok"),
        (Paint::Yellow, "outdated"),
        (Paint::Dim, "sideways"),
        (Paint::Yellow, "needed"),
        (Paint::Cyan, "switch"),
        (Paint::Red, "failed"),
    ] {
        assert!(painted.contains(&paint.on(word, true)), "{word} in {painted}");
    }
    let lines = |text: &str| text.lines().map(visible).collect::<Vec<_>>();
    assert_eq!(lines(&painted), lines(&text));
    assert!(lines(&text).iter().all(|columns| *columns <= 80), "{text}");
}

fn server(state: &str, reason: &str) -> Server {
    let said_at = Some("2026-01-01T11:57:00Z".to_owned());
    Server { state: state.to_owned(), reason: reason.to_owned(), said_at, ..Server::default() }
}

/// An agent that has waited for 10 s for its next attempt.
fn waiting() -> Report {
    let connection = Connection {
        state: State::Waiting,
        since: "2026-01-01T11:59:50Z".to_owned(),
        last_error: Some("cannot reach it".to_owned()),
        last_error_at: Some("2026-01-01T11:59:50Z".to_owned()),
        retry_at: Some("2026-01-01T12:00:20Z".to_owned()),
        lost_at: None,
    };
    let mut stats = Stats::default();
    stats.reconnect("unreachable");
    stats.reconnect("unreachable");
    Report {
        hostname: "web-1".to_owned(),
        dashboard: "ws://127.0.0.1/ws".to_owned(),
        version: "0.1.0".to_owned(),
        pid: 77,
        started_at: "2026-01-01T09:00:00Z".to_owned(),
        interval_s: 30,
        connection,
        stats,
        ..Report::default()
    }
}

#[test]
fn an_agent_that_never_connected_says_nothing_about_its_dashboard() {
    let wanted = "\
web-1: not yet connected to ws://127.0.0.1/ws, for 3 h 0 min
  last error  10 s ago: cannot reach it
  next try    in 20 s
  running     nothing

  attempts    none succeeded yet: 2 unreachable
  agent       0.1.0, process 77, for 3 h 0 min
  heartbeats  none yet, every 30 s once it is connected
  output      0 lines sent, 0 dropped
  queue       empty without a connection; 0 answers dropped
";
    let mut report = waiting();
    assert_eq!(verbose(&report), wanted);
    report.connection.state = State::Connecting;
    let page = verbose(&report);
    assert!(
        page.starts_with("web-1: connecting to ws://127.0.0.1/ws, not connected for 3 h 0 min\n"),
        "{page}"
    );
}

#[test]
fn after_a_lost_connection_the_page_says_what_the_dashboard_said_last_and_when() {
    let mut report = waiting();
    report.stats.registrations = 1;
    report.stats.beats = 12;
    report.stats.messages_dropped = 3;
    report.stats.ignored("malformed");
    report.stats.log_lines_left_out = 70;
    report.last_beat_at = Some("2026-01-01T11:56:30Z".to_owned());
    report.connection.lost_at = Some("2026-01-01T11:55:00Z".to_owned());
    report.ack_rtt_ms = Some(2.5);
    report.server = Some(server("maintenance", "upgrade"));
    let wanted = "\
web-1: not connected to ws://127.0.0.1/ws, for 5 min 0 s
  last error  10 s ago: cannot reach it
  next try    in 20 s
  running     nothing

  dashboard   last said 3 min 0 s ago: maintenance: upgrade
  reconnects  2 unreachable
  agent       0.1.0, process 77, for 3 h 0 min
  heartbeats  12, the last 3 min 30 s ago, none without a connection; 0 late, 0 skipped
  output      0 lines sent, 0 dropped
  queue       empty without a connection; 3 answers dropped
  ignored     messages: 1 malformed; 70 log lines left out
";
    assert_eq!(verbose(&report), wanted);
    report.running = Some(Running {
        command: "switch".to_owned(),
        job_id: "a-b".to_owned(),
        waits: Some("confirming, 42 s left".to_owned()),
        ..Running::default()
    });
    let waiting = "\n  running     switch, confirming, 42 s left, no process yet, ";
    assert!(verbose(&report).contains(waiting), "{}", verbose(&report));
    report.running = Some(Running {
        command: "switch".to_owned(),
        job_id: "a-b".to_owned(),
        ended: true,
        ..Running::default()
    });
    // An older agent says it in the place of the running command.
    let older = verbose(&report);
    report.unreported = report.running.take();
    assert_eq!(verbose(&report), older);
    let ended = "\n  running     nothing\n  ended       switch: not reported to the dashboard yet, job a-b\n";
    assert!(older.contains(ended), "{older}");
    report.connection.lost_at = None;
    let page = verbose(&report);
    assert!(
        page.starts_with("web-1: not connected to ws://127.0.0.1/ws, for 10 s\n"),
        "an older agent: {page}"
    );
}

#[test]
fn no_state_of_the_dashboard_is_no_key_and_no_line() {
    let document = serde_json::to_string(&waiting()).unwrap();
    assert!(!document.contains("\"server\""), "{document}");
    // Of an older agent.
    let older: Report = serde_json::from_str(r#"{"server": {"state": "healthy", "reason": ""}}"#).unwrap();
    assert!(!verbose(&older).contains("dashboard"), "{}", verbose(&older));
}

#[test]
fn a_document_of_another_version_is_read_as_far_as_it_is_known() {
    let report: Report =
        serde_json::from_str(r#"{"hostname": "web-1", "new": {"x": 1}, "queue": {"control": 2}}"#).unwrap();
    assert_eq!((report.hostname.as_str(), report.queue.control), ("web-1", 2));
    assert!(verbose(&report).starts_with("web-1: connecting"));
}

#[test]
fn on_a_terminal_a_long_row_takes_several_lines_and_no_word_is_cut() {
    let style = Style { width: Some(80), ..PLAIN() };
    let mut page = Page { text: String::new(), now: Timestamp::UNIX_EPOCH, style: &style };
    let path = "/".repeat(100);
    page.row("file", &format!("{path} {} end two", "ä".repeat(62)));
    let umlauts = "ä".repeat(62);
    assert_eq!(page.text, format!("  file        {path}\n              {umlauts} end\n              two\n"));
}
