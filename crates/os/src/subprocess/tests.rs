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

/// A program that SIGKILL does not end, as far as its parent can see: a tracer holds it, which never waits for
/// it. The tracer ends when `hold` does not exist any more. None where processes may not be traced.
struct Undying {
    folder: tempfile::TempDir,
}

const UNDYING: &str = r#"
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <unistd.h>
int main(int argc, char **argv) {
    int ready[2];
    char byte = 1;
    if (argc < 2 || pipe(ready)) return 9;
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
    pid_t target = getpid(), tracer = fork();
    if (tracer == 0) {
        setsid();
        close(1);
        byte = ptrace(PTRACE_SEIZE, target, 0, 0) ? 0 : 1;
        if (write(ready[1], &byte, 1) != 1) return 9;
        while (byte && access(argv[1], F_OK) == 0) usleep(5000);
        return 0;
    }
    if (read(ready[0], &byte, 1) != 1 || !byte) return 9;
    for (;;) pause();
}
"#;

impl Undying {
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("undying.c");
        std::fs::write(&source, UNDYING).unwrap();
        std::fs::write(folder.path().join("hold"), "").unwrap();
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let built = Command::new(compiler).arg("-o").arg(folder.path().join("undying")).arg(&source).status();
        let undying = built.is_ok_and(|status| status.success()).then_some(Self { folder });
        if undying.is_none() {
            skipped("there is no C compiler");
        }
        undying
    }

    fn hold(&self) -> std::path::PathBuf {
        self.folder.path().join("hold")
    }

    fn run(&self, leftovers: &Leftovers) -> Result<(), ProgramError> {
        let hold = self.hold();
        let program = self.folder.path().join("undying");
        // Long enough for the tracer to attach.
        let limit = Duration::from_millis(500);
        run(&program, &[hold.to_str().unwrap()], &[], limit, Wanted::Output, leftovers).map(drop)
    }
}

impl Drop for Undying {
    fn drop(&mut self) {
        drop(std::fs::remove_file(self.hold()));
    }
}

/// Says so in a way that the test runner does not capture.
fn skipped(why: &str) {
    use std::io::Write;
    writeln!(io::stderr(), "\nSKIPPED: programs that do not end: {why}").unwrap();
}

#[test]
fn a_program_that_sigkill_does_not_end_is_given_up_and_they_do_not_become_many() {
    let Some(undying) = Undying::new() else { return };
    let leftovers = Leftovers::new();
    let begin = Instant::now();
    let first = undying.run(&leftovers).unwrap_err();
    if let ProgramError::Io(_) = first {
        return skipped("this process may not trace another");
    }
    assert!(matches!(first, ProgramError::Hangs(_)) && first.is_timeout(), "{first}");
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert_eq!(leftovers.count(), 1);
    let more = thread::scope(|scope| {
        let runs: Vec<_> =
            (1..leftovers::MAX_LEFTOVERS).map(|_| scope.spawn(|| undying.run(&leftovers))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(more.iter().all(|result| matches!(result, Err(ProgramError::Hangs(_)))), "{more:?}");
    let refused = |leftovers| run(Path::new("/bin/true"), &[], &[], LONG, Wanted::Output, leftovers);
    assert!(matches!(refused(&leftovers), Err(ProgramError::TooManyHang)));
    // When they end after all, programs are started again.
    std::fs::remove_file(undying.hold()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while leftovers.count() > 0 {
        assert!(Instant::now() < deadline, "{} still hang", leftovers.count());
        thread::sleep(PAUSE);
    }
    assert!(refused(&leftovers).is_ok());
}

#[test]
fn a_program_may_write_more_than_is_kept() {
    let script = "head -c 1000000 /dev/zero | tr '\\0' x; echo; echo last; exit 3";
    let (status, tail) = outcome_with_tail(Path::new("/bin/sh"), &["-c", script], &[], LONG).unwrap();
    assert_eq!((status.code(), tail.len()), (Some(3), TAIL));
    assert!(tail.ends_with("x\nlast\n"), "{tail}");
    let endless = outcome_with_tail(Path::new("/bin/sh"), &["-c", "exec cat /dev/zero"], &[], SHORT);
    assert!(endless.unwrap_err().is_timeout(), "its time limit holds");
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

fn companion(script: &str) -> Companion {
    Companion::start(Path::new("/bin/sh"), &["-c".into(), script.into()], &["PATH"]).unwrap()
}

#[test]
fn a_companion_answers_each_line_with_a_line() {
    let mut companion = companion("while read -r line; do printf 'a %s\\nmore ' \"$line\" >&0; done");
    for (question, answer) in [("1", "a 1"), ("2", "more a 2")] {
        companion.ask(question).unwrap();
        assert_eq!(companion.answer(LONG).unwrap().unwrap(), answer.as_bytes());
    }
    let begin = Instant::now();
    assert!(companion.answer(SHORT).unwrap().is_none(), "no whole line");
    assert!(begin.elapsed() >= SHORT);
    assert!(!companion.is_gone());
    companion.dismiss();
    eventually("its end", || companion.is_gone());
}

#[test]
fn how_a_companion_ended_is_told() {
    for (script, words) in [
        ("exit 3", "exit status: 3"),
        ("printf half >&0; kill -KILL $$", "SIGKILL"),
        ("head -c 100000 /dev/zero >&0", "more than 65536 bytes"),
        ("exec 0<&-; sleep 60", "started or heard"),
    ] {
        let mut companion = companion(script);
        let error = companion.answer(LONG).unwrap_err().to_string();
        assert!(error.contains(words), "{script}: {error}");
        companion.end().unwrap();
    }
    let mut gone = companion("exit 0");
    eventually("its end", || gone.is_gone());
    assert!(gone.ask("1").unwrap_err().to_string().contains("exit status: 0"));
}

#[test]
fn a_companion_is_killed_with_what_it_started() {
    let mut companion = companion("trap '' TERM; read -r line; sleep 600 & echo $! >&0; wait");
    companion.ask("begin").unwrap();
    let pid = String::from_utf8(companion.answer(LONG).unwrap().unwrap()).unwrap();
    companion.end().unwrap();
    eventually("the end of its child", || {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
    });
}

#[track_caller]
fn eventually(what: &str, mut state: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !state() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        thread::sleep(PAUSE);
    }
}
