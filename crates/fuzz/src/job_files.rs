//! Files of jobs: what is read is the same after it was written and read again, and what is made of it for the wire
//! is within the limit.

use std::path::Path;

use nixfleet_agent::wire;
use nixfleet_jobs::checkout::Checkout;
use nixfleet_jobs::format::{self, Format};
use nixfleet_jobs::history::{History, Last, Reached};
use nixfleet_jobs::journal::Entry;
use nixfleet_jobs::record::Record;
use nixfleet_jobs::spec::{JobResult, Outcome, Spec, State};
use nixfleet_protocol::{AgentMessage, BatchLine, OutputBatch, RunningJob, Status, StatusKind, Stream};

use crate::messages::sent;

/// Longest commit that a file may name: the hex digits of a SHA-256.
const MAX_COMMIT: usize = 64;

/// One file. Its first byte says which.
pub fn job_files(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 7 {
        0 => drop(read::<Spec>(bytes)),
        1 => drop(read::<State>(bytes)),
        2 => read::<JobResult>(bytes).iter().for_each(ended),
        3 => read::<Record>(bytes).iter().for_each(accepted),
        4 => read::<History>(bytes).iter().for_each(remembered),
        5 => {
            let checkout = read::<Checkout>(bytes);
            check_commit(checkout.and_then(|checkout| checkout.commit).as_deref());
        }
        _ => {
            if let Ok(entry) = serde_json::from_slice::<Entry>(bytes) {
                logged(entry);
            }
        }
    }
}

fn read<T: Format + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> Option<T> {
    let path = Path::new("/a/file");
    let value: T = format::parse(path, bytes).ok()?;
    let written = format::to_vec(&value).expect("a value that was read");
    let again: T = format::parse(path, &written).expect("a file that was written");
    assert_eq!(value, again);
    // Bytes become longer by escapes and by fields with defaults only.
    assert!(written.len() <= 6 * bytes.len() + 1024, "{} bytes of {}", written.len(), bytes.len());
    Some(value)
}

fn check_commit(commit: Option<&str>) {
    let is_hash = |text: &str| {
        (1..=MAX_COMMIT).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    assert!(commit.is_none_or(is_hash), "{commit:?}");
}

fn ended(result: &JobResult) {
    check_commit(result.commit.as_deref());
    let explained = result.clone().explained("switch", false);
    assert!(!explained.unexplained);
    let told = if result.unexplained { Outcome::Stopped } else { result.outcome };
    assert_eq!((explained.outcome, explained.exit_code), (told, result.exit_code));
    assert!(result.unexplained || explained == *result, "an end that needs no explanation was changed");
    if let Some(lines) = result.lines {
        assert_eq!(result.line_count(), lines);
    }
    let unnumbered = JobResult { lines: None, ..result.clone() };
    assert_eq!(unnumbered.line_count(), result.last_seq);
    for result in [result, &explained] {
        sent(AgentMessage::Status(Status {
            status: StatusKind::Error,
            command: "switch".to_owned(),
            exit_code: result.exit_code,
            message: result.message.clone(),
            generation: result.commit.clone().unwrap_or_default(),
            job_id: None,
            signal: result.signal,
            outcome: Some(result.outcome.as_str().to_owned()),
            duration_ms: Some(result.duration_ms),
            lines: Some(result.line_count()),
            dropped_lines: Some(result.missing_lines()),
        }));
    }
    let mut history = History::default();
    let id = nixfleet_jobs::JobId::generate();
    history.note(Reached { pull: true, switch: true, boot: true, test: true }, &id, "switch", result, None);
    remembered(&history);
    let runs_another =
        || result.system.as_ref().is_some_and(|change| change.before.running != change.after.running);
    let runs = match result.outcome {
        Outcome::Ok | Outcome::ActivatedWithFailures | Outcome::ActivatedDespiteError => true,
        // Behind the confirmation of a system on trial.
        Outcome::BootloaderFailed => runs_another(),
        _ => false,
    };
    assert_eq!(history.deployed.is_some(), runs, "{:?}", result.outcome);
    assert_eq!(history.switch.as_ref().map(|last| last.outcome), Some(result.outcome));
}

fn accepted(record: &Record) {
    // A result of a later version that cannot be read costs nothing else.
    let mut fields = serde_json::to_value(record).expect("a record that was read");
    fields["result"] = serde_json::json!({"outcome": [], "of_a_later_version": 1});
    let without = Record { result: None, ..record.clone() };
    assert_eq!(without.decided(), None);
    assert_eq!(serde_json::from_value(fields).ok(), Some(without));
    if let Some(result) = record.decided() {
        assert!(record.delivered_seq >= result.last_seq, "{record:?}");
    }
    if let Some(result) = &record.result {
        ended(result);
        // The last entry decides.
        let delivered = |delivered_seq| Record { delivered_seq, ..record.clone() };
        assert_eq!(delivered(result.last_seq).decided(), Some(&**result));
        assert_eq!(delivered(u64::MAX).decided(), Some(&**result));
        if let Some(before) = result.last_seq.checked_sub(1) {
            assert_eq!(delivered(before).decided(), None);
        }
    }
    let running = RunningJob {
        id: record.id.to_string(),
        command: record.command.clone(),
        started_at: record.accepted_at.clone(),
    };
    let text = serde_json::json!({"type": "register", "payload": {
        "hostname": "a", "heartbeat_interval": 30, "running_job": running,
    }});
    match AgentMessage::decode(&text.to_string()) {
        Ok(register) => sent(register),
        Err(err) => panic!("{err}"),
    }
}

fn remembered(history: &History) {
    for last in [&history.pull, &history.switch, &history.deployed, &history.test].into_iter().flatten() {
        check_commit(last.commit.as_deref());
        check_commit(last.head.as_deref());
        check_commit(Last::checked_out(last));
    }
}

/// An entry of a log, as output and as progress.
fn logged(entry: Entry) {
    if let Some(operation) = entry.operation {
        sent(AgentMessage::OperationProgress(wire::progress::operation(*operation)));
    }
    if let Some(test) = entry.test {
        sent(AgentMessage::TestProgress(wire::progress::test(*test)));
    }
    let line = BatchLine {
        seq: entry.seq,
        at: entry.at,
        stream: Stream::Stdout,
        line: entry.line,
        cont: entry.cont,
    };
    // The same line often enough that one message cannot hold all of them.
    let lines = vec![line; 5];
    sent(AgentMessage::OutputBatch(OutputBatch {
        command: "switch".to_owned(),
        job_id: String::new(),
        lines,
    }));
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A file of the corpus without the byte that says its kind.
    #[track_caller]
    fn understood<T: Format + PartialEq + std::fmt::Debug>(name: &str) {
        let bytes = fs::read(crate::mutate::corpus("job_files").join(name)).unwrap();
        assert!(read::<T>(&bytes[1..]).is_some(), "{name} is refused, so no change of it tests anything");
    }

    #[test]
    fn the_files_of_the_corpus_are_understood() {
        understood::<Spec>("spec");
        understood::<State>("state");
        understood::<JobResult>("result");
        understood::<Record>("record");
        understood::<History>("history");
        understood::<Checkout>("checkout");
        for name in ["entry", "entry-progress"] {
            let bytes = fs::read(crate::mutate::corpus("job_files").join(name)).unwrap();
            serde_json::from_slice::<Entry>(&bytes[1..]).unwrap();
        }
    }
}
