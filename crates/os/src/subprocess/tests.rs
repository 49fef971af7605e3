use super::*;

fn sh(script: &str, limit: Duration) -> Result<Vec<u8>, ProgramError> {
    output(Path::new("/bin/sh"), &["-c", script], limit)
}

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(200);

#[test]
fn an_answer_arrives_whole() {
    assert_eq!(sh("printf 'a\\nb'", LONG).unwrap(), b"a\nb");
    assert_eq!(sh("head -c 60000 /dev/zero", LONG).unwrap().len(), 60_000);
}

#[test]
fn only_path_is_passed_on() {
    let shown = String::from_utf8(sh("env", LONG).unwrap()).unwrap();
    // Variables that a shell sets by itself.
    let own = ["PATH=", "LC_ALL=C", "PWD=", "SHLVL=", "_=", "OLDPWD="];
    assert!(shown.lines().all(|line| own.iter().any(|name| line.starts_with(name))), "{shown}");
}

#[test]
fn a_failure_is_told_apart() {
    assert!(matches!(sh("exit 3", LONG), Err(ProgramError::Failed(_))));
    assert!(matches!(output(Path::new("/nonexistent"), &[], LONG), Err(ProgramError::Io(_))));
    assert!(matches!(sh("head -c 100000 /dev/zero; sleep 60", LONG), Err(ProgramError::TooMuch)));
}

#[test]
fn errors_and_the_exit_code_are_told_when_asked_for() {
    let said = outcome(Path::new("/bin/sh"), &["-c", "echo a; echo b >&2; exit 3"], &[], LONG);
    let (status, text) = said.unwrap();
    assert_eq!((status.code(), text.as_str()), (Some(3), "a\nb\n"));
}

#[test]
fn a_slow_program_is_killed_with_its_children() {
    for script in ["sleep 60", "sleep 60 & echo $!; wait", "exec >&-; sleep 60"] {
        let begin = Instant::now();
        let error = sh(script, SHORT).unwrap_err();
        assert!(error.is_timeout(), "{script}: {error}");
        assert!(begin.elapsed() < Duration::from_secs(10), "{script}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!("sleep 60 & echo $! > {}; wait", file.display());
    assert!(sh(&script, Duration::from_secs(1)).is_err());
    let pid: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    // It is dead, but its new parent may not have waited for it yet.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) if !stat.contains(") Z ") && Instant::now() < deadline => thread::yield_now(),
            Ok(stat) => break assert!(stat.contains(") Z "), "{stat}"),
            Err(_) => break,
        }
    }
}

fn background(script: &str, limit: Duration) -> Result<String, ProgramError> {
    let mut program = Background::start(Path::new("/bin/sh"), &["-c", script], limit).unwrap();
    loop {
        if let Some(answer) = program.answer() {
            return answer;
        }
        let left = program.deadline().saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap();
        rustix::event::poll(&mut [PollFd::new(&program, PollFlags::IN)], Some(&left)).unwrap();
    }
}

#[test]
fn an_answer_can_be_awaited_beside_other_events() {
    assert_eq!(background("sleep 0.1; echo a; echo b; exit 3", LONG).unwrap(), "a\nb\n");
    assert!(background("echo a; exec sleep 60", SHORT).unwrap_err().is_timeout());
    assert!(matches!(background("exec head -c 100000 /dev/zero", LONG), Err(ProgramError::TooMuch)));
    assert!(Background::start(Path::new("/nonexistent"), &[], LONG).is_err());
}

#[test]
fn a_program_that_nobody_waits_for_any_more_is_killed() {
    let program = Background::start(Path::new("/bin/sleep"), &["60"], LONG).unwrap();
    let stat = format!("/proc/{}/stat", program.pid());
    assert!(std::fs::exists(&stat).unwrap());
    drop(program);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") Z ")) {
        assert!(Instant::now() < deadline, "it lives");
        thread::yield_now();
    }
}
