//! The output of a command arrives completely, and no output can block or break the agent.

use std::time::Duration;

use nixfleet_dashboard::Faults;
use nixfleet_protocol::AgentMessage;

use crate::rig::in_nats::needs_mock;
use crate::rig::{Fleet, HOST};

/// Complete lines: pieces of long lines are joined.
fn whole_lines(fleet: &Fleet) -> Vec<String> {
    let mut whole = Vec::new();
    let mut open = String::new();
    for (_, text, cont) in fleet.lines() {
        open += &text;
        if !cont {
            whole.push(std::mem::take(&mut open));
        }
    }
    whole
}

#[tokio::test]
async fn twenty_thousand_short_lines_arrive_in_order_in_batches_and_one_by_one() {
    for no_capabilities in [false, true] {
        if no_capabilities && needs_mock("a gateway takes lines in batches") {
            return;
        }
        let fleet = Fleet::start().await.script("seq", "seq 1 20000");
        if no_capabilities {
            fleet.dashboard.set_faults(Faults { no_capabilities, ..Faults::default() });
        }
        let _agent = fleet.agent().await;
        let status = fleet.run("seq").await;
        assert_eq!((status.exit_code, status.lines, status.dropped_lines), (0, Some(20_000), Some(0)));
        let expected: Vec<String> = (1..=20_000).map(|n| n.to_string()).collect();
        assert_eq!(whole_lines(&fleet), expected);
        let batches = fleet.messages().iter().any(|m| matches!(m.message, AgentMessage::OutputBatch(_)));
        assert_eq!(batches, !no_capabilities);
    }
}

#[tokio::test]
async fn a_line_of_a_mebibyte_arrives_whole() {
    let fleet =
        Fleet::start().await.script("long-line", "head -c 1048576 /dev/zero | tr '\\0' x; echo; echo end");
    let _agent = fleet.agent().await;
    assert_eq!(fleet.run("long-line").await.exit_code, 0);
    let lines = whole_lines(&fleet);
    assert_eq!((lines.len(), lines[0].len(), lines[1].as_str()), (2, 1 << 20, "end"));
}

#[tokio::test]
async fn odd_bytes_and_progress_arrive_as_a_terminal_would_show_them() {
    let script = r"printf 'bad \377\376 bytes\n10%%\r50%%\r100%%\n\001\033[31mred\033[0m\nno newline'";
    let fleet = Fleet::start().await.script("odd", script);
    let _agent = fleet.agent().await;
    assert_eq!(fleet.run("odd").await.exit_code, 0);
    let expected = ["bad \u{FFFD}\u{FFFD} bytes", "100%", "\u{1}\u{1b}[31mred\u{1b}[0m", "no newline"];
    assert_eq!(whole_lines(&fleet), expected);
}

#[tokio::test]
async fn a_grandchild_that_keeps_the_pipe_open_does_not_keep_the_command() {
    let fleet = Fleet::start().await.script("leaky", "sleep 30 & echo said");
    let _agent = fleet.agent().await;
    let status = fleet.run("leaky").await;
    assert_eq!(status.exit_code, 0);
    assert!(status.duration_ms.unwrap() < 5000, "{status:?}");
    assert_eq!(whole_lines(&fleet), ["said"]);
}

#[tokio::test]
async fn standard_error_is_marked_and_its_last_line_is_in_the_message() {
    let fleet =
        Fleet::start().await.script("fails", "echo fine; echo 'error: no such attribute' >&2; exit 7");
    let _agent = fleet.agent().await;
    let status = fleet.run("fails").await;
    assert_eq!(status.exit_code, 7);
    assert!(status.message.contains("error: no such attribute"), "{}", status.message);
}

#[tokio::test]
async fn beats_keep_their_time_while_a_command_floods_and_the_dashboard_reads_nothing() {
    if needs_mock("its dashboard stops reading") {
        return;
    }
    let fleet =
        Fleet::start().await.script("flood", "timeout 6 yes").configure("[jobs]\nlog_limit = 4194304\n");
    let _agent = fleet.agent().await;
    fleet.send("flood");
    fleet.running("flood").await;
    fleet.dashboard.set_faults(Faults { stop_reading: true, ..Faults::default() });
    tokio::time::sleep(Duration::from_secs(2)).await;
    fleet.dashboard.set_faults(Faults::default());
    let status = fleet.wait("the status", |fleet| fleet.statuses().pop()).await;
    assert!(status.dropped_lines.unwrap() > 0, "the log has a limit: {status:?}");
    assert!(fleet.dashboard.host(HOST).unwrap().lines > 10_000);
    let times: Vec<i64> = fleet.beats().iter().map(|(at, _)| *at).collect();
    let ahead = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    // The dashboard pauses for two seconds; the flood itself lasts for six.
    assert!(ahead < 5000, "one gap while nothing was read, none besides: {times:?}");
}
