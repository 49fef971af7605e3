//! The log of a host: its numbers, its pages, and the file.

use proptest::prelude::*;
use serde_json::{Value, json};

use nixfleet_protocol::{AgentMessage, BatchLine, CommandRejected, Output, OutputBatch, Status, Stream};

use super::client::{LIMIT, Running, beat, rejection};
use super::world::{World, line, link, status};
use crate::log::{Log, PAGE_BYTES, Query, Said, Written};
use nixfleet_sessions::Link;

fn query() -> Query {
    Query { limit: 1000, bytes: PAGE_BYTES, ..Query::default() }
}

fn end(command: &str, job: &str) -> Status {
    let AgentMessage::Status(status) = status() else { unreachable!() };
    Status { command: command.to_owned(), job_id: Some(job.to_owned()), ..status }
}

fn say(log: &mut Log, command: &str, job: &str, text: &str) {
    log.begin(0, command, Some(job));
    log.line(Said { seq: Some(1), stream: Stream::Stdout, line: text, cont: false, at_ms: 0 });
}

/// Entries of a page, as text.
fn shown(log: &Log, query: &Query) -> Vec<String> {
    let page = serde_json::to_value(log.page(query)).expect("JSON");
    let text = |entry: &Value| match entry["kind"].as_str().expect("a kind") {
        "head" => format!("{} $ {}", entry["n"], entry["command"].as_str().expect("text")),
        "line" => format!("{} {}", entry["n"], entry["line"].as_str().expect("text")),
        kind => format!("{} {kind}", entry["n"]),
    };
    page["entries"].as_array().expect("entries").iter().map(text).collect()
}

#[test]
fn lines_of_one_command_have_one_head_and_what_follows_its_end_has_another() {
    let mut log = Log::default();
    say(&mut log, "pull", "1", "a");
    say(&mut log, "pull", "1", "b");
    log.end(0, &Status { job_id: None, command: "stop".to_owned(), ..end("stop", "") });
    say(&mut log, "pull", "1", "c");
    log.end(0, &end("pull", "1"));
    say(&mut log, "pull", "2", "d");
    say(&mut log, "test", "3", "e");
    let all = ["0 $ pull", "1 a", "2 b", "3 end", "4 c", "5 end", "6 $ pull", "7 d", "8 $ test", "9 e"];
    assert_eq!(shown(&log, &query()), all);
    let of = |job: &str| shown(&log, &Query { job: Some(job.to_owned()), ..query() });
    assert_eq!(of("1"), ["0 $ pull", "1 a", "2 b", "4 c", "5 end"]);
    assert_eq!((of("2"), of("9")), (vec!["6 $ pull".to_owned(), "7 d".to_owned()], vec![]));
    // An older agent names no job. Only the end tells its commands apart.
    let mut older = Log::default();
    for _ in 0..2 {
        older.begin(0, "pull", None);
        older.line(Said { seq: None, stream: Stream::Stdout, line: "a", cont: false, at_ms: 0 });
        older.end(0, &Status { job_id: None, ..end("pull", "") });
    }
    assert_eq!(shown(&older, &query()), ["0 $ pull", "1 a", "2 end", "3 $ pull", "4 a", "5 end"]);
    let found = |text: &str| shown(&log, &Query { search: Some(text.to_owned()), ..query() });
    assert_eq!(found("c"), ["4 c"]);
    assert_eq!(found("pull"), ["0 $ pull", "5 end", "6 $ pull"]);
}

#[test]
fn what_is_dropped_is_counted_numbers_stay_and_so_do_the_ends() {
    let mut log = Log::default();
    for job in 0..60 {
        say(&mut log, "pull", &job.to_string(), &"x".repeat(1000));
        log.end(0, &end("pull", &job.to_string()));
    }
    log.trim(3_000);
    assert_eq!((log.next(), log.dropped()), (180, 174), "two commands are left");
    let page = log.page(&query());
    assert_eq!((page.first, page.next, page.end, page.older, page.more), (174, 180, 180, 0, false));
    let ends: Vec<_> = log.ends().map(|end| (end.n, end.job_id.as_deref())).collect();
    assert_eq!((ends.len(), ends[0], ends[49]), (50, (32, Some("10")), (179, Some("59"))));
    log.trim(0);
    assert_eq!(log.dropped(), 179, "the newest one stays");
    let mut log = Log::default();
    say(&mut log, "pull", "j", "a");
    (0..9).for_each(|_| say(&mut log, "pull", "j", &"x".repeat(1000)));
    log.trim(3_000);
    let page = serde_json::to_value(log.page(&query())).expect("JSON");
    assert_eq!(page["under"], json!({"n": 0, "command": "pull", "job_id": "j"}), "its head is gone");
}

#[test]
fn every_text_that_an_agent_chooses_counts_for_the_room_of_the_log() {
    let long = || "x".repeat(10_000);
    let trimmed = |add: &dyn Fn(&mut Log) -> u64| {
        let mut log = Log::default();
        for _ in 0..10 {
            add(&mut log);
        }
        log.trim(30_000);
        log
    };
    let plain = end("pull", "j");
    let ends = [
        Status { command: long(), ..plain.clone() },
        Status { message: long(), ..plain.clone() },
        Status { generation: long(), ..plain.clone() },
        Status { job_id: Some(long()), ..plain.clone() },
        Status { outcome: Some(long()), ..plain },
    ];
    for (at, status) in ends.iter().enumerate() {
        let log = trimmed(&|log| log.end(0, status));
        assert_eq!(log.dropped(), 8, "text {at} of an end");
        let kept = serde_json::to_string(&log.ends().collect::<Vec<_>>()).expect("JSON");
        assert!(kept.len() < 10_000, "text {at} of an end is kept for long, and is in each view");
    }
    let plain = CommandRejected {
        reason: String::new(),
        current_command: None,
        current_pid: None,
        command: None,
        command_id: None,
    };
    let rejections = [
        CommandRejected { reason: long(), ..plain.clone() },
        CommandRejected { current_command: Some(long()), ..plain.clone() },
        CommandRejected { command: Some(long()), ..plain.clone() },
        CommandRejected { command_id: Some(long()), ..plain },
    ];
    for (at, rejection) in rejections.iter().enumerate() {
        let log = trimmed(&|log| log.rejected(0, rejection));
        assert_eq!(log.dropped(), 8, "text {at} of a rejection");
    }
}

#[test]
fn a_search_in_long_lines_looks_at_as_many_bytes_as_are_quick_and_goes_on_in_the_next_page() {
    let mut log = Log::default();
    let line = "a".repeat(16 * 1024);
    (0..2_000).for_each(|_| say(&mut log, "pull", "j", &line));
    // It nearly occurs at each place of each line.
    let wanted = format!("{}b", "a".repeat(1_000));
    let mut query = Query { search: Some(wanted), ..query() };
    let mut scanned = Vec::new();
    loop {
        let page = log.page(&query);
        assert!(page.entries.is_empty());
        scanned.push(page.scanned);
        if !page.more {
            break;
        }
        query.before = Some(page.first);
    }
    assert_eq!(scanned.iter().sum::<usize>(), 2_001, "all of it, and its head");
    assert!(scanned.iter().all(|count| *count <= 512), "{scanned:?}");
}

#[test]
fn names_of_commands_count_for_the_bytes_of_a_page_of_a_search_and_of_a_piece_of_the_file() {
    let mut log = Log::default();
    let name = "x".repeat(64 * 1024);
    (0..400).for_each(|job| say(&mut log, &name, &job.to_string(), "text"));
    let page = serde_json::to_string(&log.page(&query())).expect("JSON");
    assert!(page.len() < PAGE_BYTES * 5 / 4, "{} bytes", page.len());
    let page = log.page(&Query { search: Some("nowhere".to_owned()), ..query() });
    assert!(page.more && page.scanned <= 2 * 128 + 2, "{} of 800", page.scanned);
    let mut written = Written::new(None, false);
    let piece = log.write(&mut written).expect("a piece");
    assert!(piece.lines().count() <= 10, "{} lines", piece.lines().count());
}

proptest! {
    #[test]
    fn any_pages_in_any_direction_have_each_entry_exactly_once(
        jobs in prop::collection::vec((0_u8..3, 0_usize..12, any::<bool>()), 1..12),
        room in 500_usize..6_000,
        limits in prop::collection::vec(1_usize..9, 1..5),
        bytes in 1_usize..100,
        search in prop::option::of("[ab]"),
        job in prop::option::of("[01]"),
        oldest_first: bool,
    ) {
        let mut log = Log::default();
        for (job, lines, ends) in jobs {
            let job = job.to_string();
            (0..lines).for_each(|n| say(&mut log, "pull", &job, &"ab c".repeat(n)));
            if ends {
                log.end(0, &end("pull", &job));
            }
        }
        log.trim(room);
        let wanted = Query { search, job, ..query() };
        let all = shown(&log, &wanted);
        let (mut got, mut place, mut limits) = (Vec::new(), None, limits.into_iter().cycle());
        loop {
            let limit = limits.next().expect("endless");
            let (before, after) = if oldest_first { (None, place) } else { (place, None) };
            let query = Query { before, after, oldest_first, limit, bytes, ..wanted.clone() };
            let page = log.page(&query);
            prop_assert!(page.entries.len() <= limit);
            let new = shown(&log, &query);
            if oldest_first { got.extend(new) } else { got.splice(0..0, new); }
            place = if oldest_first { page.next.checked_sub(1) } else { Some(page.first) };
            if !page.more {
                break;
            }
        }
        prop_assert_eq!(got, all);
    }
}

#[test]
fn the_logs_of_all_hosts_share_what_one_host_may_have_alone() {
    let mut world = World::new();
    let link = link(1);
    world.register(0, &link, "h", 1);
    let long = |seq| {
        let AgentMessage::Output(output) = line(seq) else { unreachable!() };
        AgentMessage::Output(Output { line: "x".repeat(1024 * 1024), ..output })
    };
    (1..=40).for_each(|seq| world.message(seq, &link, long(seq)));
    let dropped = |world: &World| world.hub.log("h", Log::dropped).expect("known");
    assert_eq!(dropped(&world), 0);
    for number in 0..3 {
        world.register(50, &Link::with_room(10 + number, 1), &format!("other-{number}"), 1);
    }
    world.message(60, &link, long(41));
    let kept = 42 - dropped(&world);
    assert!((8..16).contains(&kept), "{kept} of the 64 MiB for four hosts");
}

/// The whole file.
fn file(log: &Log, job: Option<&str>, timestamps: bool) -> String {
    let mut written = Written::new(job.map(str::to_owned), timestamps);
    std::iter::from_fn(|| log.write(&mut written)).collect()
}

#[test]
fn the_file_says_what_is_gone_joins_pieces_of_lines_and_cannot_control_a_terminal() {
    let mut log = Log::default();
    let piece = |text, cont| Said { seq: None, stream: Stream::Stderr, line: text, cont, at_ms: 1_000 };
    log.begin(1_000, "switch\n", Some("j"));
    log.line(piece("a long ", true));
    log.line(piece("line", false));
    log.line(piece("\x1b]0;title\x07red \x1b[31m!\x1b[0m", true));
    log.end(
        2_000,
        &Status { duration_ms: Some(1_500), message: "Done\nwell".to_owned(), ..end("switch\n", "j") },
    );
    log.rejected(
        3_000,
        &CommandRejected {
            reason: "command already running".to_owned(),
            current_command: None,
            current_pid: None,
            command: Some("pull".to_owned()),
            command_id: None,
        },
    );
    let text = "$ switch\na long line\nred !\n[switch: ok, exit code 0 after 1.500 s: Done well]\n\
                [pull was rejected: command already running]\n";
    assert_eq!(file(&log, None, false), text);
    let of_job = file(&log, Some("j"), true);
    assert!(of_job.starts_with("1970-01-01T00:00:01.000Z $ switch\n1970-01-01T00:00:01.000Z a long line\n"));
    assert!(
        of_job.ends_with("1970-01-01T00:00:02.000Z [switch: ok, exit code 0 after 1.500 s: Done well]\n")
    );
    assert_eq!(file(&log, Some("other"), false), "");
    log.trim(0);
    assert_eq!(file(&log, None, false).lines().next(), Some("[5 older entries are no longer kept]"));
    let mut written = Written::new(None, false);
    let mut log = Log::default();
    (0..5_000).for_each(|_| say(&mut log, "pull", "j", "text"));
    let first = log.write(&mut written).expect("a piece");
    log.trim(0);
    let second = log.write(&mut written).expect("another piece");
    assert_eq!(first.lines().count(), 2_000, "agents do not wait for all of it");
    assert_eq!(second, "[3000 older entries are no longer kept]\ntext\n", "meanwhile they were dropped");
    say(&mut log, "pull", "j", "later");
    assert_eq!(log.write(&mut written), None, "what came after the question is not part of the answer");
}

#[tokio::test]
async fn the_log_is_there_over_http() {
    let dashboard = Running::start().await;
    let mut agent = dashboard.agent("web").await;
    for seq in 1..=20 {
        agent.send(&line(seq)).await;
    }
    agent.send(&status()).await;
    let request = nixfleet_protocol::CommandRequest { command: "test".to_owned(), id: None };
    agent.send(&rejection(&request)).await;
    agent.send(&beat(None)).await;
    let ended = |handle: &crate::Handle| handle.host("web").filter(|host| host.ends.len() == 1);
    let host = dashboard.handle.wait_until("the end", LIMIT, ended).await;
    assert_eq!((host.ends[0].n, host.ends[0].command.as_str()), (21, "pull"));
    assert_eq!(dashboard.get("/api/hosts").await.1["hosts"][0]["ends"], json!([]), "not of each host");
    assert_eq!(dashboard.get("/api/hosts/web").await.1["ends"][0]["exit_code"], 0);
    dashboard
        .handle
        .wait_until("all messages", LIMIT, |handle| (handle.next_index("web") == 25).then_some(()))
        .await;
    let get = async |question: &str| dashboard.get(&format!("/api/hosts/web/log{question}")).await;
    let (code, page) = get("?limit=3").await;
    let numbers = |page: &Value| -> Vec<u64> {
        page["entries"].as_array().unwrap().iter().filter_map(|entry| entry["n"].as_u64()).collect()
    };
    assert_eq!((code, numbers(&page)), (200, vec![20, 21, 22]));
    assert_eq!((&page["first"], &page["end"], &page["older"]), (&json!(20), &json!(23), &json!(20)));
    assert_eq!(page["entries"][0]["line"], "line 20");
    let (_, page) = get("?before=2&limit=1").await;
    assert_eq!((numbers(&page), &page["more"]), (vec![1], &json!(true)));
    let (_, page) = get("?after=2&limit=2").await;
    assert_eq!((numbers(&page), &page["next"]), (vec![3, 4], &json!(5)));
    let (_, page) = get("?search=LINE%201&after=0&limit=2").await;
    assert_eq!((numbers(&page), &page["scanned"]), (vec![1, 10], &json!(10)));
    assert_eq!(numbers(&get("?job=nothing").await.1), Vec::<u64>::new());
    assert_eq!(get("?before=x").await.0, 400);
    assert_eq!(get(&format!("?search={}", "x".repeat(1025))).await.0, 400);
    assert_eq!(dashboard.get("/api/hosts/nobody/log").await.0, 404);
    assert_eq!(dashboard.get("/api/hosts/nobody/log.txt").await.0, 404);
    let file = dashboard.raw_http("GET", "/api/hosts/web/log.txt?timestamps=1", None, "").await;
    assert!(file.contains("content-disposition: attachment; filename=\"web.log\"\r\n"), "{file}");
    assert!(file.contains("Z $ pull\r\n") || file.contains("Z $ pull\n"), "{file}");
    assert!(file.contains("Z [pull: ok, exit code 0]\n"), "{file}");
    let file = dashboard.raw_http("GET", "/api/hosts/web/log.txt?job=other", None, "").await;
    assert!(file.starts_with("HTTP/1.1 200") && !file.contains("$ pull"), "{file}");
    dashboard.stop().await;
}

#[tokio::test]
async fn a_page_has_5000_entries_at_most_with_the_times_of_their_host() {
    let dashboard = Running::start().await;
    let mut agent = dashboard.agent("web").await;
    let line = |seq| {
        let at = "2026-07-14T12:00:00Z".to_owned();
        BatchLine { seq, at, stream: Stream::Stdout, line: String::new(), cont: false }
    };
    let (command, job_id) = ("pull".to_owned(), "j".to_owned());
    let batch = OutputBatch { command, job_id, lines: (1..=5_001).map(line).collect() };
    agent.send(&AgentMessage::OutputBatch(batch)).await;
    let all = |handle: &crate::Handle| (handle.host("web")?.lines == 5_001).then_some(());
    dashboard.handle.wait_until("all lines", LIMIT, all).await;
    let (_, page) = dashboard.get("/api/hosts/web/log?limit=1000000").await;
    assert_eq!((page["entries"].as_array().map(Vec::len), &page["more"]), (Some(5_000), &json!(true)));
    assert_eq!(page["entries"][0]["at"], "2026-07-14T12:00:00.000Z");
    dashboard.stop().await;
}

#[test]
fn a_page_looks_at_its_own_entries_only_and_a_search_goes_on_where_the_last_one_ended() {
    const LINES: u64 = 120_000;
    let mut log = Log::default();
    (0..LINES).for_each(|n| say(&mut log, "pull", "j", &format!("building {n}.")));
    for before in [None, Some(60_000), Some(501)] {
        let page = log.page(&Query { before, limit: 500, ..query() });
        assert_eq!((page.entries.len(), page.scanned), (500, 500), "before {before:?}");
    }
    let (mut before, mut searches) = (None, Vec::new());
    loop {
        let page = log.page(&Query { before, search: Some("building 7.".to_owned()), ..query() });
        searches.push((page.scanned, page.entries.len()));
        before = Some(page.first);
        if !page.more {
            break;
        }
    }
    assert_eq!(searches, [(50_000, 0), (50_000, 0), (20_001, 1)]);
}
