//! Pages, to the letter.

use super::*;
use crate::observe::stats::Stats;
use crate::observe::status::{
    Collector, Connection, Finished, ProcessUsage, Running, RunningActivity, Server,
};

fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

#[test]
fn the_page_of_a_busy_agent() {
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
        ..Finished::default()
    };
    let report = Report {
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
            job_id: "a-b".to_owned(),
            pid: Some(4711),
            since: "2026-01-01T11:58:55Z".to_owned(),
            activity: Some(RunningActivity {
                phase: "build\u{1b}[31m".to_owned(),
                phase_since: Some("2026-01-01T11:59:05Z".to_owned()),
                last_output_at: Some("2026-01-01T11:59:48Z".to_owned()),
            }),
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
        ..Report::default()
    };
    let wanted = "\
web-1: connected to wss://fleet.example.org/ws, for 1 min 0 s
  last error  1 min 30 s ago: cannot reach it
  dashboard   degraded: slow; acknowledges in 2.5 ms
  reconnects  1 closed
  agent       0.1.0, process 77, for 2 h 0 min, 6.1 MB, 1.50 s of processor time, 21 files, 9 threads
  metrics     http://127.0.0.1:9464/metrics
  heartbeats  12, the last 12 s ago, every 30 s; 0 late, 0 skipped; all within 1 ms of being due
  answers     1, 0 missing; all within 5 ms of being sent
  running     switch, process 4711, for 1 min 5 s, job a-b
              build for 55 s, silent for 12 s
  ended       test: failed (1), 1 h 0 min ago, took 1 min 1 s
              pull: ok (0), 1 h 0 min ago, took 1 min 1 s
  output      40 lines sent, 0 dropped
  queue       0 messages and 0 of output wait; 0 answers dropped
  looks       cpu                  4 x    0.250 ms, 0 errors, 0 timeouts
";
    assert_eq!(page(&report, now(), None), wanted);
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
  attempts    none succeeded yet: 2 unreachable
  agent       0.1.0, process 77, for 3 h 0 min
  heartbeats  none yet, every 30 s once it is connected
  running     nothing
  output      0 lines sent, 0 dropped
  queue       empty without a connection; 0 answers dropped
";
    let mut report = waiting();
    assert_eq!(page(&report, now(), None), wanted);
    report.connection.state = State::Connecting;
    let page = page(&report, now(), None);
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
  dashboard   last said 3 min 0 s ago: maintenance: upgrade
  reconnects  2 unreachable
  agent       0.1.0, process 77, for 3 h 0 min
  heartbeats  12, the last 3 min 30 s ago, none without a connection; 0 late, 0 skipped
  running     nothing
  output      0 lines sent, 0 dropped
  queue       empty without a connection; 3 answers dropped
  ignored     messages: 1 malformed; 70 log lines left out
";
    assert_eq!(page(&report, now(), None), wanted);
    report.running = Some(Running {
        command: "switch".to_owned(),
        job_id: "a-b".to_owned(),
        waits: Some("confirming, 42 s left".to_owned()),
        ..Running::default()
    });
    let waiting = "\n  running     switch, confirming, 42 s left, no process yet, ";
    assert!(page(&report, now(), None).contains(waiting), "{}", page(&report, now(), None));
    report.running = Some(Running {
        command: "switch".to_owned(),
        job_id: "a-b".to_owned(),
        ended: true,
        ..Running::default()
    });
    // An older agent says it in the place of the running command.
    let older = page(&report, now(), None);
    report.unreported = report.running.take();
    assert_eq!(page(&report, now(), None), older);
    let ended = "\n  running     nothing\n  ended       switch: not reported to the dashboard yet, job a-b\n";
    assert!(older.contains(ended), "{older}");
    report.connection.lost_at = None;
    let page = page(&report, now(), None);
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
    assert!(!page(&older, now(), None).contains("dashboard"), "{}", page(&older, now(), None));
}

#[test]
fn a_document_of_another_version_is_read_as_far_as_it_is_known() {
    let report: Report =
        serde_json::from_str(r#"{"hostname": "web-1", "new": {"x": 1}, "queue": {"control": 2}}"#).unwrap();
    assert_eq!((report.hostname.as_str(), report.queue.control), ("web-1", 2));
    assert!(page(&report, now(), None).starts_with("web-1: connecting"));
}

#[test]
fn on_a_terminal_a_long_row_takes_several_lines_and_no_word_is_cut() {
    let mut page = Page { text: String::new(), now: Timestamp::UNIX_EPOCH, width: Some(WIDTH) };
    let path = "/".repeat(100);
    page.row("file", &format!("{path} {} end two", "ä".repeat(62)));
    let umlauts = "ä".repeat(62);
    assert_eq!(page.text, format!("  file        {path}\n              {umlauts} end\n              two\n"));
}
