use proptest::prelude::*;

use super::*;

/// What people see of a log for machines, line by line.
fn shown(log: &str, live: bool) -> Vec<String> {
    let mut nix = NixLog::new(live);
    let mut shown = Vec::new();
    for line in log.lines() {
        let Some(json) = line.strip_prefix(MARK) else {
            shown.push(line.to_owned());
            continue;
        };
        match nix.read(json) {
            Parsed::Text(text) => shown.extend(text.lines().map(str::to_owned)),
            Parsed::Malformed => panic!("malformed: {line}"),
            Parsed::Nothing | Parsed::Counted(..) | Parsed::Ended(_) => {}
        }
    }
    shown
}

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../../tests/fixtures/nix/", $name))
    };
}

#[test]
fn people_see_what_nix_would_have_shown_them() {
    for (machine, people, live) in [
        (fixture!("build.json.log"), fixture!("build.log"), false),
        (fixture!("build.json.log"), fixture!("build-with-logs.log"), true),
        (fixture!("missing.json.log"), fixture!("missing.log"), false),
    ] {
        assert_eq!(shown(machine, live), people.lines().collect::<Vec<_>>());
    }
    // Paths are copied side by side, in any order.
    let sorted = |mut lines: Vec<String>| (lines.sort(), lines).1;
    let people = fixture!("fetch.log").lines().map(str::to_owned).collect();
    assert_eq!(sorted(shown(fixture!("fetch.json.log"), false)), sorted(people));
}

#[test]
fn a_failed_build_is_explained_by_the_end_of_its_log() {
    // All but nix's advice on where to read on.
    let advice = |line: &str| line.contains("For full logs") || line.contains("nix log ");
    let expected: Vec<&str> = fixture!("failed.log")
        .lines()
        .filter(|line| !advice(line))
        .map(|line| line.trim_end_matches(';'))
        .collect();
    assert_eq!(shown(fixture!("failed.json.log"), false), expected);
    let live = shown(fixture!("failed.json.log"), true);
    assert!(live.contains(&"broken> cc: no such file".to_owned()), "{live:?}");
    assert!(!live.iter().any(|line| line.contains("last 3 log lines")), "said once: {live:?}");
}

#[test]
fn only_the_end_of_a_long_log_is_remembered_and_told_once() {
    let mut nix = NixLog::default();
    nix.read(
        r#"{"action":"start","id":7,"level":3,"type":105,"text":"","fields":["/nix/store/h-x.drv","",1,1]}"#,
    );
    for number in 0..100 {
        nix.read(&format!(r#"{{"action":"result","id":7,"type":101,"fields":["line {number}"]}}"#));
    }
    let long = "é".repeat(TAIL_LINE_BYTES);
    nix.read(&format!(r#"{{"action":"result","id":7,"type":101,"fields":["x{long}"]}}"#));
    let error = r#"{"action":"msg","level":0,"msg":"error: builder for '/nix/store/h-x.drv' failed"}"#;
    let Parsed::Text(text) = nix.read(error) else { panic!("no text") };
    assert!(text.contains("last 25 log lines:\n       > line 76\n"), "{text}");
    assert!(text.lines().all(|line| line.len() <= TAIL_LINE_BYTES + 9), "{text}");
    assert_eq!(nix.read(error), Parsed::Text("error: builder for '/nix/store/h-x.drv' failed".to_owned()));
}

#[test]
fn builds_without_end_cost_a_bounded_number_of_logs() {
    let mut nix = NixLog::default();
    for id in 0..10_000 {
        nix.read(&format!(r#"{{"action":"start","id":{id},"type":105,"fields":["/nix/store/h-{id}.drv"]}}"#));
    }
    assert_eq!(nix.running.len(), MAX_BUILDS);
    assert_eq!(nix.running.back().unwrap().activity, 9_999, "the newest ones");
}

#[test]
fn nix_counts_for_its_newest_activities_alone() {
    let mut nix = NixLog::default();
    let progress = |id: u64| format!(r#"{{"action":"result","id":{id},"type":105,"fields":[1,4,2,0]}}"#);
    let counts = Counts { done: 1, expected: 4, running: 2 };
    assert_eq!(nix.read(&progress(1)), Parsed::Nothing, "of whatever it is");
    nix.read(r#"{"action":"start","id":1,"level":0,"text":"","type":104}"#);
    nix.read(r#"{"action":"start","id":2,"level":0,"text":"","type":103}"#);
    assert_eq!(nix.read(&progress(1)), Parsed::Counted(Unit::Derivations, counts));
    assert_eq!(nix.read(&progress(2)), Parsed::Counted(Unit::Paths, counts));
    assert_eq!(nix.read(r#"{"action":"stop","id":3}"#), Parsed::Nothing);
    assert_eq!(nix.read(r#"{"action":"stop","id":1}"#), Parsed::Ended(Unit::Derivations));
    assert_eq!(nix.read(&progress(1)), Parsed::Nothing);
    nix.read(r#"{"action":"start","id":5,"level":0,"text":"","type":104}"#);
    assert_eq!(nix.read(&progress(5)), Parsed::Counted(Unit::Derivations, counts), "of another run of nix");
}

#[test]
fn what_is_no_event_is_malformed_and_what_is_unknown_is_no_text() {
    let mut nix = NixLog::default();
    nix.read(r#"{"action":"start","id":1,"level":0,"text":"","type":104}"#);
    for malformed in [
        "",
        "hello",
        "{",
        "[]",
        "3",
        "{}",
        r#"{"action":3}"#,
        r#"{"action":"msg","msg":["a"]}"#,
        r#"{"action":"start","id":"one","level":3,"text":"a"}"#,
        r#"{"action":"start","id":-1,"level":3,"text":"a"}"#,
        r#"{"action":"result","id":1,"type":105,"fields":[1,2]}"#,
        r#"{"action":"result","id":1,"type":105,"fields":["a","b","c","d"]}"#,
        r#"{"action":"result","id":1,"type":101}"#,
        r#"{"action":"msg","level":0,"msg":"two"} {"action":"msg"}"#,
    ] {
        assert_eq!(nix.read(malformed), Parsed::Malformed, "{malformed}");
    }
    for silent in [
        r#"{"action":"dance","steps":3}"#,
        r#"{"action":"start","id":9,"level":4,"text":"evaluating"}"#,
        r#"{"action":"start","id":9,"level":0,"text":"","type":102}"#,
        r#"{"action":"result","id":9,"type":999,"fields":{"a":1}}"#,
        r#"{"action":"result","id":9,"type":101,"fields":["of no build"]}"#,
    ] {
        assert_eq!(nix.read(silent), Parsed::Nothing, "{silent}");
    }
}

#[test]
fn build_logs_carry_the_name_without_hash_and_version() {
    for (path, name) in [
        ("/nix/store/i2xwc4wa611ahryxnh9g6ni8pvvgfap6-nixos-system-web-1-26.05.drv", "nixos-system-web"),
        ("/nix/store/h-etc.drv", "etc"),
        ("/nix/store/h-unit-agent.service.drv", "unit-agent.service"),
        ("/nix/store/h-a-.drv", "a-"),
        ("no path", "no path"),
        ("", ""),
    ] {
        assert_eq!(short_name(path), name, "{path}");
    }
}

#[test]
fn escape_sequences_of_terminals_are_left_out() {
    for (text, plain) in [
        ("\u{1b}[31;1merror:\u{1b}[0m \u{1b}[35;1mx\u{1b}[0m", "error: x"),
        ("plain\ntext", "plain\ntext"),
        ("cut \u{1b}[31", "cut "),
        ("lone \u{1b}", "lone "),
        ("\u{1b}[Ké", "é"),
    ] {
        assert_eq!(without_escapes(text), plain);
    }
}

proptest! {
    #[test]
    fn no_line_panics(lines in prop::collection::vec(
        prop_oneof![
            ".{0,80}",
            (0u64..4, 99u64..112, "\\PC{0,20}", prop::sample::select(vec!["start", "stop", "msg", "result"])).prop_map(
                |(id, kind, text, action)| serde_json::json!({
                    "action": action, "id": id, "type": kind, "level": id, "text": text, "msg": text,
                    "fields": if kind % 2 == 0 { serde_json::json!([text]) } else { serde_json::json!([kind, id, id, 0]) },
                }).to_string()),
        ], 0..60), live in any::<bool>())
    {
        let mut nix = NixLog::new(live);
        for line in lines {
            if let Parsed::Text(text) = nix.read(&line) {
                prop_assert_eq!(text.find('\u{1b}'), None);
            }
        }
    }
}

#[test]
fn a_name_that_no_store_path_can_have_is_not_repeated_before_each_line() {
    let name = "x".repeat(MAX_DERIVATION);
    for (path, shown) in [("/nix/store/0-a.drv", true), (name.as_str(), true), (&format!("{name}x"), false)] {
        let mut log = NixLog::new(true);
        log.read(&format!(r#"{{"action":"start","id":1,"level":9,"type":105,"fields":["{path}"]}}"#));
        let line = log.read(r#"{"action":"result","id":1,"type":101,"fields":["line"]}"#);
        assert_eq!(line != Parsed::Nothing, shown, "{} bytes", path.len());
    }
}

#[test]
fn what_a_post_build_hook_writes_is_shown_with_and_without_live_logs() {
    let log = concat!(
        "@nix {\"action\":\"start\",\"id\":1,\"level\":3,\"text\":\"running post-build-hook '/h'\",\"type\":110,",
        "\"fields\":[\"/nix/store/5cdz-app-1.0.drv\"]}\n",
        "@nix {\"action\":\"result\",\"id\":1,\"type\":107,\"fields\":[\"\\u001b[31muploading \"]}\n",
        "@nix {\"action\":\"result\",\"id\":2,\"type\":107,\"fields\":[\"of no known build\"]}\n",
        "@nix {\"action\":\"stop\",\"id\":1}\n",
    );
    for live in [false, true] {
        let wanted = [
            "running post-build-hook '/h'...",
            "app (post)> uploading ",
            "post-build-hook: of no known build",
        ];
        assert_eq!(shown(log, live), wanted);
    }
    let mut nix = NixLog::default();
    for hook in 0..10 * MAX_BUILDS as u64 {
        nix.read(&format!(
            r#"{{"action":"start","id":{hook},"level":3,"type":110,"fields":["/h-{hook}.drv"]}}"#
        ));
    }
    assert_eq!(nix.hooks.len(), MAX_BUILDS);
    let malformed = r#"{"action":"result","id":1,"type":107,"fields":[{"line":"a"}]}"#;
    assert_eq!(nix.read(malformed), Parsed::Malformed, "shown as it is");
}

#[test]
fn events_of_a_newer_nix_neither_show_nor_hide_anything() {
    let log = concat!(
        "@nix {\"action\":\"start\",\"id\":10,\"level\":3,\"parent\":0,\"fields\":[\"/nix/store/h1-app-1.0.drv\",\"\",1,1],",
        "\"text\":\"building '/nix/store/h1-app-1.0.drv'\",\"type\":105,\"reason\":{\"a\":1}}\n",
        "@nix {\"action\":\"result\",\"id\":10,\"type\":110,\"payload\":{\"status\":\"Built\"}}\n",
        "@nix {\"action\":\"result\",\"id\":10,\"type\":109,\"fields\":[\"/nix/store/x-source\"]}\n",
        "@nix {\"action\":\"result\",\"id\":10,\"type\":4294967296,\"fields\":null}\n",
        "@nix {\"action\":\"start\",\"id\":11,\"level\":5,\"type\":113,\"text\":\"hashing\",\"fields\":[\"x\",1]}\n",
        "@nix {\"action\":\"start\",\"id\":12,\"level\":2,\"type\":999,\"text\":\"of a new kind\",\"fields\":{\"x\":1}}\n",
        "@nix {\"action\":\"future\",\"id\":13,\"what\":[1,{\"a\":null}]}\n",
        "@nix {\"action\":\"msg\",\"level\":1,\"msg\":\"warning: last\",\"new\":true}\n",
    );
    let wanted = ["building '/nix/store/h1-app-1.0.drv'...", "of a new kind...", "warning: last"];
    assert_eq!(shown(log, false), wanted);
}
