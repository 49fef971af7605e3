//! A log that was damaged on the disk, and one that a full disk cut: holes are announced with their cause, and the
//! result is true.

use std::fs;
use std::process::Command;

use nixfleet_dashboard::{Faults, Refusal};

use crate::rig::{AgentProcess, Fleet, HOST, LIMIT, eventually, in_shell, job_folder, json};

/// The connection is lost while `wait.sh` runs, which then writes 50 lines and ends.
async fn written_without_a_dashboard(fleet: &Fleet) {
    fleet.send("many");
    fleet.running("many").await;
    let refused = Some(Refusal { status: 503, retry_after: Some(1) });
    fleet.dashboard.set_faults(Faults { refuse_auth: refused, ..Faults::default() });
    fleet.dashboard.drop_connection(HOST).unwrap();
    fleet.dashboard.wait_until("the loss", LIMIT, |d| (!d.host(HOST)?.connected).then_some(())).await;
    fs::write(fleet.path("gate"), "").unwrap();
    eventually("the result", || json(&job_folder(fleet).join("result.json"))).await;
}

fn many(fleet: Fleet) -> Fleet {
    let gate = fleet.path("gate").display().to_string();
    let body =
        format!("while [ ! -e '{gate}' ]; do sleep 0.05; done\nfor n in $(seq 50); do echo line $n; done");
    fleet.script("many", &body)
}

#[tokio::test]
async fn damage_to_a_log_is_told_where_it_is_and_costs_nothing_else() {
    let fleet = many(Fleet::strict().await);
    let mut agent = fleet.agent().await;
    written_without_a_dashboard(&fleet).await;
    agent.kill();
    let path = job_folder(&fleet).join("log.jsonl");
    let lines: Vec<String> = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
    let damaged = |line: &String| {
        let is = |n: u32| line.contains(&format!("\"line\":\"line {n}\""));
        match () {
            () if is(7) || is(8) => "\0".repeat(line.len()),
            () if is(20) => "[".repeat(600_000),
            () if is(30) => line.replacen("\"seq\":", "\"seq\":99", 1),
            () if is(50) => line[..line.len() - 4].to_owned(),
            () => line.clone(),
        }
    };
    fs::write(&path, lines.iter().map(|line| damaged(line) + "\n").collect::<String>()).unwrap();
    fleet.dashboard.set_faults(Faults::default());
    let _next: AgentProcess = fleet.spawn_agent();
    let status = fleet.ended("many").await;
    let mut expected: Vec<String> = (1..=50).map(|n| format!("line {n}")).collect();
    let remark = |count: &str| format!("nixfleet: {count} missing here: the log is damaged");
    for n in [20, 30, 50] {
        expected[n - 1] = remark("1 line is");
    }
    expected[7] = remark("2 lines are");
    expected.remove(6);
    let told: Vec<String> = fleet.lines().into_iter().map(|(_, line, _)| line).collect();
    assert_eq!(told, expected);
    assert_eq!((status.exit_code, status.lines, status.dropped_lines), (0, Some(50), Some(5)), "{status:?}");
    fleet.assert_no_violations();
}

/// As [`Fleet::agent`], with files of at most `blocks` x 512 bytes, as on a small disk that is full.
async fn with_small_files(fleet: &Fleet, blocks: u32) -> AgentProcess {
    let limit = format!("trap '' XFSZ; ulimit -f {blocks}");
    let small = in_shell(Command::new("sh"), &limit, &fleet.agent_command());
    let agent = AgentProcess::spawn(small, fleet.path("state"));
    fleet.wait("the agent", |fleet| fleet.beats().first().map(drop)).await;
    agent
}

#[tokio::test]
async fn lines_that_do_not_fit_on_the_disk_are_counted_and_the_disk_is_named() {
    let fleet = Fleet::strict().await.script("flood", "seq 2000");
    let _agent = with_small_files(&fleet, 64).await;
    let status = fleet.run("flood").await;
    let dropped = status.dropped_lines.unwrap();
    assert_eq!((status.exit_code, status.outcome.as_deref(), status.lines), (0, Some("ok"), Some(2000)));
    assert!(dropped > 1000 && dropped < 2000, "{dropped}");
    let told = fleet.lines();
    let remark = format!(
        "nixfleet: {dropped} lines are missing here: the log could not be written: File too large (os error 27)"
    );
    assert_eq!(told.last().map(|(number, line, _)| (*number, line.clone())), Some((2000, remark)));
    assert_eq!(told.len() as u64, 2000 - dropped + 1);
    let result = json(&job_folder(&fleet).join("result.json")).unwrap();
    assert_eq!(
        (result["unwritten_lines"].as_u64(), result["dropped_lines"].as_u64()),
        (Some(dropped), Some(dropped))
    );
    fleet.assert_no_violations();
}

/// How often the follower's thread was woken so far.
#[cfg(target_os = "linux")]
fn wakeups(agent: &AgentProcess) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", agent.pid().as_raw_nonzero())).unwrap().flatten();
    let of = |task: fs::DirEntry| {
        let comm = fs::read_to_string(task.path().join("comm")).ok()?;
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        (comm.trim() == "follower").then(|| count.trim().parse::<u64>().unwrap())
    };
    let counts: Vec<u64> = tasks.filter_map(of).collect();
    let [count] = counts[..] else { panic!("{} followers", counts.len()) };
    count
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn output_that_waits_for_a_dashboard_costs_a_few_wake_ups_a_second() {
    let fleet = Fleet::strict().await;
    let gate = fleet.path("gate").display().to_string();
    let body = format!("while [ ! -e '{gate}' ]; do sleep 0.05; done\nseq 100000\nsleep 60");
    let fleet = fleet.script("many", &body);
    let agent = fleet.agent().await;
    fleet.send("many");
    fleet.running("many").await;
    let refused = Some(Refusal { status: 503, retry_after: Some(60) });
    fleet.dashboard.set_faults(Faults { refuse_auth: refused, ..Faults::default() });
    fleet.dashboard.drop_connection(HOST).unwrap();
    fs::write(&gate, "").unwrap();
    let log = job_folder(&fleet).join("log.jsonl");
    let all = |log| fs::read_to_string(log).is_ok_and(|text: String| text.contains("\"line\":\"100000\""));
    eventually("the whole output", || all(&log).then_some(())).await;
    // What is measured is a rate, so this waits for a time.
    let begun = (std::time::Instant::now(), wakeups(&agent));
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let rate = (wakeups(&agent) - begun.1) as f64 / begun.0.elapsed().as_secs_f64();
    println!("{rate:.1} wake-ups a second");
    assert!(rate < 10.0, "{rate:.1} wake-ups a second");
}
