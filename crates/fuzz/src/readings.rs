//! Readings and settings of other programs: StaSysMo, `heartbeat.conf`.

use std::cell::RefCell;
use std::fs;
use std::time::{Duration, SystemTime};

use nixfleet_agent::cli;
use nixfleet_vitals::stasysmo as parser;
use tempfile::TempDir;

/// Longest file of StaSysMo, in bytes.
const MAX_FILE: usize = 64;

thread_local! {
    static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

/// The files of StaSysMo, separated by 0xff. A reading has four finite numbers that are not negative, and is fresh;
/// with one file that is no number there is none. Each number is that of its file.
pub fn stasysmo(data: &[u8]) {
    const FILES: [&str; 5] = ["cpu", "ram", "swap", "load", "timestamp"];
    FOLDER.with_borrow_mut(|folder| {
        let dir = folder.get_or_insert_with(crate::scratch).path();
        let mut parts = data.split(|byte| *byte == 0xff);
        for name in FILES {
            let content = parts.next();
            let path = dir.join(name);
            match content {
                Some(content) => fs::write(&path, content).expect("a file of StaSysMo"),
                None => drop(fs::remove_file(&path)),
            }
        }
        let now = SystemTime::now();
        let reading = parser::read(dir, now);
        let numbers: Vec<Option<f64>> = data.split(|byte| *byte == 0xff).take(4).map(number).collect();
        let numbers: Option<Vec<f64>> = numbers.into_iter().collect();
        let values = reading.map(|reading| {
            let parser::Values { cpu, ram, swap, load } = reading.values;
            vec![cpu, ram, swap, load]
        });
        assert_eq!(
            values,
            numbers.filter(|numbers| numbers.len() == 4),
            "the files are new, whatever their stamp is"
        );
        if let Some(reading) = reading {
            let parser::Values { cpu, ram, swap, load } = reading.values;
            let values = [cpu, ram, swap, load];
            assert!(values.iter().all(|value| value.is_finite() && value.is_sign_positive()), "{values:?}");
            let ahead = reading.measured_at.duration_since(now).unwrap_or_default();
            assert!(ahead <= Duration::from_secs(60), "measured {ahead:?} from now");
        }
        for name in &FILES[..4] {
            fs::write(dir.join(name), "no number").expect("a file of StaSysMo");
            assert_eq!(parser::read(dir, now), None, "{name} is no number");
        }
    });
}

/// The number of a short file; none if it is no number, or one that no load has.
fn number(content: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(content).ok().filter(|text| text.len() <= MAX_FILE)?;
    text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)
}

/// `heartbeat.conf`: an interval within its bounds, or one printable line of bounded length for each wrong line. A file
/// of plain lines means what it says.
pub fn heartbeat_conf(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(wanted) = plain_interval(text) {
        assert_eq!(cli::heartbeat_conf(text).ok(), wanted, "{text:?}");
    }
    match cli::heartbeat_conf(text) {
        Ok(interval) => assert!(interval.is_none_or(|seconds| (1..=24 * 3600).contains(&seconds))),
        Err(problems) => {
            assert!(!problems.is_empty() && problems.len() <= text.lines().count());
            for problem in problems {
                let (number, _) = problem.split_once(": ").expect("a line number");
                let number: usize = number.parse().expect("a line number");
                assert!((1..=text.lines().count()).contains(&number), "{problem}");
                assert!(!problem.contains(char::is_control) && problem.len() < 2048, "{problem:?}");
            }
        }
    }
}

/// What a file of nothing but comments and `INTERVAL=NUMBER` means: at most one interval, or an error. None for any
/// other file.
fn plain_interval(text: &str) -> Option<Option<Option<u64>>> {
    let mut found = Vec::new();
    for line in text.split('\n').filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let number = line.strip_prefix("INTERVAL=")?;
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        found.push(number.trim_start_matches('0'));
    }
    Some(match found.as_slice() {
        [] => Some(None),
        // Five digits are enough for a day.
        [number] if number.len() <= 5 => {
            let seconds = number.parse().ok().filter(|seconds| (1..=86_400).contains(seconds));
            seconds.map(Some)
        }
        _ => None,
    })
}
