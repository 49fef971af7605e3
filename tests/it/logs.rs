//! `logs`: the log of a job, for people on the host.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::rig::{Fleet, eventually, job_folder};

/// `logs` without the settings of the connection: it needs neither URL nor token.
fn command(fleet: &Fleet, arguments: &[&str]) -> Command {
    let mut command = fleet.agent_command();
    command.env_remove("NIXFLEET_URL").env_remove("NIXFLEET_TOKEN").arg("logs").args(arguments);
    command
}

fn logs(fleet: &Fleet, arguments: &[&str]) -> Output {
    command(fleet, arguments).output().unwrap()
}

#[track_caller]
fn text(output: &[u8]) -> String {
    String::from_utf8(output.to_vec()).unwrap()
}

#[tokio::test]
async fn logs_have_times_in_the_zone_of_the_host_or_in_utc_and_programs_get_the_list_as_json() {
    let fleet = Fleet::start().await.script("two", "echo one; echo two >&2; exit 3");
    let _agent = fleet.agent().await;
    fleet.run("two").await;
    let run = |arguments: &[&str]| {
        // Fourteen hours ahead of UTC, as on the first islands to see a day.
        let output = command(&fleet, arguments).env("TZ", "LINT-14").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        (text(&output.stdout), text(&output.stderr))
    };
    let list: serde_json::Value = serde_json::from_str(&run(&["--list", "--json"]).0).unwrap();
    let job = &list[0];
    assert_eq!(
        (&job["command"], &job["outcome"], &job["exit_code"]),
        (&"two".into(), &"failed".into(), &3.into())
    );
    let started: jiff::Timestamp = job["started_at"].as_str().unwrap().parse().unwrap();
    let day = |at: jiff::Timestamp| at.to_string()[..10].to_owned();
    let there = day(started + jiff::SignedDuration::from_hours(14));
    let (log, around) = run(&["--timestamps"]);
    assert!(log.lines().count() == 2 && log.lines().all(|line| line.starts_with(&there)), "{log}");
    assert!(log.lines().any(|line| line[23..] == *" one"), "{log}");
    assert!(around.contains(&format!(", started {there} ")), "{around}");
    let (log, around) = run(&["-t", "--utc"]);
    assert!(log.lines().all(|line| line[23..].starts_with("Z ")), "{log}");
    assert!(
        around.contains(&format!(", started {} ", day(started))) && around.contains(" UTC, "),
        "{around}"
    );
    assert!(run(&["--list"]).0.contains(&format!("  {there} ")));
}

#[tokio::test]
async fn logs_show_what_a_job_wrote_and_how_it_ended() {
    let fleet = Fleet::start()
        .await
        .script("both", "echo out; sleep 0; printf '\\033[31mred\\033[0m\\033[2J\\n' >&2; exit 3")
        .script("other", "echo other");
    let agent = fleet.agent().await;
    fleet.run("both").await;
    let id = job_folder(&fleet).file_name().unwrap().to_str().unwrap().to_owned();
    fleet.run("other").await;
    // `logs` needs no running agent.
    drop(agent);

    let shown = logs(&fleet, &[]);
    assert!(shown.status.success(), "{shown:?}");
    assert_eq!(text(&shown.stdout), "other\n", "the newest");
    for wanted in ["both", &id, &id[..12], &id[24..]] {
        // The first twelve digits are a time and may be the same for both jobs.
        let wanted = if id.starts_with(wanted) && wanted.len() == 12 { &id[..16] } else { wanted };
        let shown = logs(&fleet, &[wanted]);
        assert!(shown.status.success(), "{wanted}: {shown:?}");
        let mut lines: Vec<String> = text(&shown.stdout).lines().map(str::to_owned).collect();
        lines.sort();
        assert_eq!(lines, ["\x1b[31mred\x1b[0m\x1b[2J", "out"], "as it was written");
        let around = text(&shown.stderr);
        assert!(around.starts_with(&format!("both, job {id}, started 20")), "{around}");
        assert!(around.lines().next().unwrap().ends_with("ago: failed (3)"), "{around}");
        assert!(around.lines().last().unwrap().starts_with("both: failed (3), took 0 s; Both: "), "{around}");
    }
    let painted = text(&logs(&fleet, &["both", "--color", "always"]).stdout);
    assert!(painted.contains("\x1b[2m\x1b[31mred\x1b[0m\x1b[0m\x1b[0m\n"), "{painted:?}");
    assert!(!painted.contains("\x1b[2J"), "{painted:?}");

    let list = text(&logs(&fleet, &["--list"]).stdout);
    let rows: Vec<Vec<&str>> = list.lines().skip(1).map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 2, "{list}");
    assert_eq!((rows[0][1], rows[1][1], rows[1][0]), ("other", "both", &id[20..]), "{list}");
    // From the end: a host whose zone is UTC says so behind the time, in a word more.
    let ended = |row: usize| rows[row][rows[row].len() - 2];
    assert_eq!((ended(0), ended(1)), ("ok", "failed"), "{list}");
    assert_eq!(text(&logs(&fleet, &["--list", "-n", "1"]).stdout).lines().count(), 2);

    let unknown = logs(&fleet, &["nonsense"]);
    assert_eq!(unknown.status.code(), Some(1));
    let error = text(&unknown.stderr);
    assert!(error.contains("no job and no command `nonsense`") && error.contains(&id[20..]), "{error}");
}

#[tokio::test]
async fn a_job_that_was_never_planned_is_known_by_its_name() {
    let fleet = Fleet::start().await;
    let _agent = fleet.agent().await;
    // No repository is configured.
    fleet.run("pull").await;
    let shown = logs(&fleet, &["pull"]);
    assert!(shown.status.success(), "{shown:?}");
    assert!(text(&shown.stdout).starts_with("nixfleet: pull: no repository is configured"), "{shown:?}");
}

/// A running `logs --follow`, read line by line.
struct Following {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Following {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test]
async fn follow_goes_on_until_the_job_ends_and_begins_where_it_is_told() {
    let fleet = Fleet::start().await;
    let gate = fleet.path("gate");
    let body = format!("seq 3; while [ ! -e {} ]; do sleep 0.05; done; echo last; exit 7", gate.display());
    let fleet = fleet.script("wait", &body);
    let _agent = fleet.agent().await;
    fleet.send("wait");
    fleet.running("wait").await;
    fleet.wait("three lines", |fleet| (fleet.lines().len() >= 3).then_some(())).await;

    let now = logs(&fleet, &["-n", "1"]);
    assert_eq!(text(&now.stdout), "3\n", "without --follow it ends");
    assert!(text(&now.stderr).ends_with("wait: goes on; --follow shows the rest\n"), "{now:?}");

    let mut following = Following::start(command(&fleet, &["wait", "-f", "-n", "2"]));
    assert_eq!((following.line(), following.line()), ("2\n".to_owned(), "3\n".to_owned()));
    fs::write(&gate, "").unwrap();
    assert_eq!(following.line(), "last\n");
    assert_eq!(following.line(), "", "the end");
    let status = eventually("its end", || following.child.try_wait().unwrap()).await;
    assert_eq!(status.code(), Some(0), "the log was shown, whatever the command did");
    let mut around = String::new();
    following.child.stderr.take().unwrap().read_to_string(&mut around).unwrap();
    assert!(around.lines().last().unwrap().starts_with("wait: failed (7), took "), "{around}");
}

#[tokio::test]
async fn a_reader_who_goes_ends_it_quietly_and_ctrl_c_at_once() {
    let fleet = Fleet::start().await.script("nap", "echo one; sleep 60");
    let _agent = fleet.agent().await;
    fleet.send("nap");
    fleet.wait("a line", |fleet| fleet.lines().pop()).await;

    let mut following = Following::start(command(&fleet, &["--follow"]));
    assert_eq!(following.line(), "one\n");
    let Following { child, lines } = &mut following;
    // The job is silent, so no write can report the closed pipe.
    drop(std::mem::replace(lines, BufReader::new(other_pipe())));
    let status = eventually("its end", || child.try_wait().unwrap()).await;
    assert_eq!(status.code(), Some(0));
    let mut around = String::new();
    child.stderr.take().unwrap().read_to_string(&mut around).unwrap();
    assert_eq!(around.lines().count(), 1, "the header alone: {around}");

    if ignores(Signal::INT) {
        // A shell without job control lets background processes ignore it.
        return eprintln!("SKIPPED: these tests run where SIGINT is ignored");
    }
    let mut following = Following::start(command(&fleet, &["--follow"]));
    assert_eq!(following.line(), "one\n");
    kill_process(Pid::from_child(&following.child), Signal::INT).unwrap();
    let status = eventually("its end", || following.child.try_wait().unwrap()).await;
    assert_eq!(status.signal(), Some(Signal::INT.as_raw()), "a shell says 130");
}

/// Whether this process, and so its child processes, ignore a signal.
fn ignores(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or_default();
    u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & (1 << (signal.as_raw() - 1)) != 0)
}

/// A pipe that replaces another one.
fn other_pipe() -> std::process::ChildStdout {
    Command::new("true").stdout(Stdio::piped()).spawn().unwrap().stdout.take().unwrap()
}

#[tokio::test]
async fn a_folder_that_is_missing_or_closed_is_told_with_what_to_do() {
    let fleet = Fleet::start().await;
    let missing = logs(&fleet, &[]);
    assert_eq!(missing.status.code(), Some(1));
    let error = text(&missing.stderr);
    assert!(
        error.contains("there is no folder of jobs at ") && error.contains("NIXFLEET_STATE_DIR"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1, "{error}");

    let jobs = fleet.path("state/jobs");
    fs::create_dir_all(&jobs).unwrap();
    assert!(text(&logs(&fleet, &[]).stderr).contains("no jobs in "));
    if !rustix::process::geteuid().is_root() {
        fs::set_permissions(&jobs, fs::Permissions::from_mode(0o000)).unwrap();
        let closed = text(&logs(&fleet, &[]).stderr);
        fs::set_permissions(&jobs, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(closed.contains("cannot read ") && closed.contains("use sudo"), "{closed}");
    }
}
