//! Supervisors that are slow, silent or odd. Shell scripts stand in for them.

use std::io::Write;

use rustix::process::{Signal, kill_process};

use super::*;

const LIMIT: Duration = Duration::from_millis(600);

fn supervisor(script: &str) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn a_supervisor_is_awaited_for_a_bounded_time_whatever_it_writes() {
    for (script, expected) in [
        ("echo ready; exec sleep 60", Ok(())),
        ("printf rea; sleep 0.1; echo dy; exec sleep 60", Ok(())),
        // Half a line, and nothing at all: it is slow, and may have started the command.
        ("printf rea; exec sleep 60", Ok(())),
        ("exec sleep 60", Ok(())),
        ("echo 'nixfleet-agent: no space left' >&2; exit 1", Err("no space left")),
        ("exit 1", Err("the job supervisor died at once")),
        // What it started holds its pipe open.
        ("exec >&-; echo odd >&2; sleep 60", Err("odd")),
        ("exec >/dev/null; echo odd >&2; exec sleep 60", Err("odd")),
    ] {
        let begun = Instant::now();
        let mut child = supervisor(script);
        let ready = wait_until_ready(&mut child, LIMIT).map_err(|err| err.to_string());
        assert_eq!(ready, expected.map_err(str::to_owned), "{script}");
        assert!(begun.elapsed() < 10 * LIMIT, "{script}: {:?}", begun.elapsed());
        assert!(kill(&mut child, KILL_TIMEOUT), "{script}");
    }
}

#[tokio::test]
async fn a_signal_to_the_waiting_thread_ends_no_wait() {
    use std::sync::mpsc;

    // The kernel restarts no poll(2) after a signal with a handler.
    let kind = tokio::signal::unix::SignalKind::user_defined2();
    let _handler = tokio::signal::unix::signal(kind).unwrap();
    let (read, mut write) = std::io::pipe().unwrap();
    let (tell, told) = mpsc::channel();
    let waiter = thread::spawn(move || {
        tell.send(rustix::thread::gettid()).unwrap();
        read_until(read.as_fd(), Some(b'\n'), 64, Instant::now() + Duration::from_secs(20))
    });
    let id = told.recv().unwrap();
    let switches = || {
        let status = std::fs::read_to_string(format!("/proc/self/task/{}/status", id.as_raw_pid())).unwrap();
        let line =
            status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    // The thread waits again after each signal.
    let (before, begun) = (switches(), Instant::now());
    while switches() < before + 3 {
        assert!(begun.elapsed() < Duration::from_secs(10), "no signal reached the thread");
        // A signal for a process prefers the thread that it is addressed to.
        kill_process(id, Signal::USR2).unwrap();
        thread::sleep(Duration::from_millis(1));
    }
    write.write_all(b"ready\n").unwrap();
    assert_eq!(waiter.join().unwrap(), (b"ready\n".to_vec(), true));
}

#[test]
fn the_wait_for_a_killed_supervisor_is_bounded() {
    let mut child = supervisor("exec sleep 60");
    // Nothing can be killed that fast: a time limit of zero stands for a process that cannot end.
    let begun = Instant::now();
    assert!(!kill(&mut child, Duration::ZERO));
    assert!(begun.elapsed() < Duration::from_secs(2));
    child.wait().unwrap();
}
