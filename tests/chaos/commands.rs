//! The commands under test, and what they wrote about themselves.
//!
//! Each request has a command name of its own, so a run belongs to its request without any help of the agent. A
//! command writes to one common side file, with one write each: `begin`, each line after it was printed, and `exit`
//! with its code. The order of that file is the order in which things happened.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use fastrand::Rng;

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// 200 lines at once.
    Count,
    /// A line every tenth of a second, for 3 s.
    Pace,
    /// The same, and it ignores SIGTERM.
    Stubborn,
    /// Some lines, and exit code 3.
    Three,
    /// Leaves a process behind that holds the pipes for two seconds.
    Child,
    /// 3,000 lines at once: more than may be sent without a receipt.
    Burst,
    /// No line at all for 2 s.
    Silent,
    /// Runs longer than it may.
    Late,
    /// The same, and it ignores SIGTERM.
    Deaf,
    /// 3,000 lines of 80 bytes in 3 s.
    Flood,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Count,
        Self::Pace,
        Self::Stubborn,
        Self::Three,
        Self::Child,
        Self::Burst,
        Self::Silent,
        Self::Late,
        Self::Deaf,
    ];

    pub(crate) fn any(rng: &mut Rng) -> Self {
        Self::ALL[rng.usize(0..Self::ALL.len())]
    }

    fn word(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Pace => "pace",
            Self::Stubborn => "stubborn",
            Self::Three => "three",
            Self::Child => "child",
            Self::Burst => "burst",
            Self::Silent => "silent",
            Self::Late => "late",
            Self::Deaf => "deaf",
            Self::Flood => "flood",
        }
    }

    /// The name of the n-th command of a schedule.
    pub(crate) fn name(self, number: usize) -> String {
        format!("{}-{number}", self.word())
    }
}

/// The script of all commands. It starts no program but `sleep`.
const SCRIPT: &str = r#"#!/bin/sh
kind=$1 name=$2
exec 3>>"$3"
trap 'code=$?; echo "$name $$ exit $code" >&3' EXIT
[ "$kind" = stubborn ] || [ "$kind" = deaf ] && trap '' TERM
echo "$name $$ begin" >&3
lines() {
    i=1
    while [ "$i" -le "$1" ]; do
        echo "$name line $i"
        echo "$name $$ line $i" >&3
        [ "$2" = 0 ] || sleep "$2" 3>&-
        i=$((i + 1))
    done
}
flood() {
    i=1
    while [ "$i" -le 3000 ]; do
        printf '%s line %s %60s\n' "$name" "$i" ''
        echo "$name $$ line $i" >&3
        [ $((i % 100)) -gt 0 ] || sleep 0.1 3>&-
        i=$((i + 1))
    done
}
case $kind in
    count) lines 200 0 ;;
    pace | stubborn) lines 30 0.1 ;;
    three) lines 5 0.05; exit 3 ;;
    child) lines 3 0; (exec sleep 2 3>&-) & ;;
    burst) lines 3000 0 ;;
    silent) sleep 2 3>&- ;;
    late | deaf) lines 100 0.1 ;;
    flood) flood ;;
esac
exit 0
"#;

/// Lines of [`Kind::Flood`].
pub(crate) const FLOOD: u64 = 3_000;

/// Seconds after which [`Kind::Late`] is ended.
pub(crate) const TIMEOUT_S: u32 = 2;

/// Seconds from SIGTERM to SIGKILL: shorter than a command that ignores SIGTERM runs.
const GRACE_S: u32 = 1;

/// Writes the script, and returns the settings of all commands.
pub(crate) fn install(folder: &Path, commands: &[Kind]) -> String {
    let (script, side) = (folder.join("run.sh"), folder.join("side.log"));
    fs::write(&script, SCRIPT).unwrap();
    fs::write(&side, "").unwrap();
    let mut text = format!("jobs.stop_grace = {GRACE_S}\n");
    for (number, kind) in commands.iter().enumerate() {
        let (word, name) = (kind.word(), kind.name(number));
        let run = ["/bin/sh", &script.to_string_lossy(), word, &name, &side.to_string_lossy()]
            .map(|argument| format!("{argument:?}"))
            .join(", ");
        writeln!(text, "[commands.{name}]\nrun = [{run}]").unwrap();
        if matches!(kind, Kind::Late | Kind::Deaf) {
            writeln!(text, "timeout = {TIMEOUT_S}").unwrap();
        }
    }
    text
}

/// One run of a command, as it wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) pid: u32,
    /// Lines that were printed for certain.
    pub(crate) lines: u64,
    /// Its exit code; none if a signal ended it, or if it runs.
    pub(crate) exit: Option<i32>,
}

/// Everything that the commands wrote about themselves.
#[derive(Debug, Default)]
pub(crate) struct Side {
    /// The runs of each command.
    pub(crate) runs: BTreeMap<String, Vec<Run>>,
    /// A command that wrote something after another one had begun.
    pub(crate) overlaps: Vec<String>,
    newest: Option<(String, u32)>,
}

impl Side {
    pub(crate) fn read(folder: &Path) -> Self {
        let mut side = Self::default();
        let text = fs::read_to_string(folder.join("side.log")).unwrap_or_default();
        // While a command writes a line, a part of it can be read.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().for_each(|line| side.line(line));
        side
    }

    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, pid, what, rest @ ..] = &words[..] else { return };
        let pid: u32 = pid.parse().unwrap();
        let runs = self.runs.entry((*name).to_owned()).or_default();
        if *what == "begin" {
            runs.push(Run { pid, lines: 0, exit: None });
            self.newest = Some(((*name).to_owned(), pid));
            return;
        }
        let Some(run) = runs.iter_mut().rev().find(|run| run.pid == pid) else { return };
        match (*what, rest) {
            ("line", [number]) => run.lines = number.parse().unwrap(),
            ("exit", [code]) => run.exit = code.parse().ok(),
            _ => {}
        }
        if self.newest.as_ref().is_some_and(|newest| (newest.0.as_str(), newest.1) != (*name, pid)) {
            let newest = self.newest.as_ref().map_or("", |newest| &newest.0);
            self.overlaps.push(format!(
                "`{name}` ({pid}) wrote `{what} {}` after `{newest}` had begun",
                rest.join(" ")
            ));
        }
    }

    /// The newest run that has not ended by itself: its command, and its process id.
    pub(crate) fn running(&self) -> Option<(&str, u32)> {
        let (name, pid) = self.newest.as_ref()?;
        let run = self.runs.get(name)?.last()?;
        run.exit.is_none().then_some((name, *pid))
    }
}
