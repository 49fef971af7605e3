//! Numbers of lines, and remarks in place of those that are missing.

use nixfleet_jobs::journal::gap_remark;
use nixfleet_jobs::progress::TestProgress;

use super::*;

#[tokio::test]
async fn a_cut_in_the_log_is_a_remark_with_the_number_of_missing_lines() {
    let rig = Rig::new();
    let mut writer = rig.supervisor(40_000);
    for n in (1..=5_000).step_by(10) {
        write(&mut writer, n..=n + 9);
    }
    let result = rig.store_result(&writer);
    assert!(result.dropped > 1000, "{}", result.dropped);
    let (entries, end) = rest(&mut rig.follow(0)).await;
    assert_eq!(end, result);
    let remarks: Vec<usize> = (0..entries.len()).filter(|&n| entries[n].stream == Source::System).collect();
    let [at] = remarks[..] else { panic!("{} remarks", remarks.len()) };
    assert_eq!(
        entries[at].line,
        format!("{} lines are missing here: the log reached its size limit", result.dropped)
    );
    assert_eq!(entries[at].seq, entries[at + 1].seq - 1, "the number of the last missing line");
    assert_eq!(entries[at - 1].seq + result.dropped, entries[at].seq);
    assert!(entries.windows(2).all(|pair| pair[0].seq < pair[1].seq), "no number twice");
    assert_eq!(entries.last().unwrap().seq, 5_000);
}

fn numbers(entries: &[Entry]) -> Vec<u64> {
    entries.iter().filter(|entry| entry.is_text()).map(Entry::number).collect()
}

fn progress(writer: &mut Writer) {
    writer.progress(&TestProgress { current: 1, total: 1, passed: 0, running: true, result: None });
}

#[tokio::test]
async fn progress_leaves_no_hole_among_the_lines_wherever_the_follower_begins() {
    let rig = Rig::new();
    let mut writer = rig.supervisor(1 << 20);
    for n in 1..=20 {
        progress(&mut writer);
        write(&mut writer, n..=n);
    }
    progress(&mut writer);
    let result = rig.store_result(&writer);
    assert_eq!((result.last_seq, result.lines), (41, Some(20)));
    for after in [0, 1, 2, 20, 40, 41] {
        let (entries, _) = rest(&mut rig.follow(after)).await;
        assert_eq!(numbers(&entries), (after / 2 + 1..=20).collect::<Vec<_>>(), "after {after}");
    }
}

#[tokio::test]
async fn a_remark_about_a_cut_with_progress_in_it_counts_lines_only() {
    let rig = Rig::new();
    let mut writer = rig.supervisor(40_000);
    for n in 1..=2_000 {
        progress(&mut writer);
        write(&mut writer, n..=n);
    }
    let result = rig.store_result(&writer);
    let dropped = result.dropped_lines.unwrap();
    assert!(dropped > 1000 && result.dropped > dropped + 1000, "{result:?}");
    let (entries, _) = rest(&mut rig.follow(0)).await;
    let lines: Vec<&Entry> = entries.iter().filter(|entry| entry.is_text()).collect();
    let jumps: Vec<_> = lines.windows(2).filter(|pair| pair[1].number() != pair[0].number() + 1).collect();
    let [jump] = jumps[..] else { panic!("{} jumps", jumps.len()) };
    let size_limit = Causes { size_limit: true, ..Causes::default() };
    assert_eq!(
        (jump[1].line.as_str(), jump[1].stream),
        (gap_remark(dropped, &size_limit).as_str(), Source::System)
    );
    assert_eq!(jump[0].number() + dropped, jump[1].number());
    assert_eq!(lines.last().unwrap().number(), 2_000);
}

#[tokio::test]
async fn lines_that_a_full_disk_cost_at_the_end_are_a_remark_before_the_result() {
    let rig = Rig::new();
    let mut writer = rig.supervisor(10_000);
    fs::create_dir(rig.dir.log(1)).unwrap();
    write(&mut writer, 1..=10);
    for n in 11..=200 {
        write(&mut writer, n..=n);
    }
    let result = rig.store_result(&writer);
    fs::remove_dir(rig.dir.log(1)).unwrap();
    let dropped = result.dropped_lines.unwrap();
    assert!(dropped > 0);
    let unwritten = Some("Is a directory (os error 21)".to_owned());
    let why = Causes { unwritten, ..Causes::default() };
    for after in [0, 10] {
        let (entries, end) = rest(&mut rig.follow(after)).await;
        let last = entries.last().unwrap();
        assert_eq!((last.number(), last.seq, &last.line), (200, 200, &gap_remark(dropped, &why)));
        assert_eq!(end, result);
    }
    assert!(rest(&mut rig.follow(200)).await.0.is_empty(), "it was delivered");
}

#[tokio::test]
async fn a_job_without_a_result_has_as_many_lines_as_its_log() {
    let rig = Rig::new();
    let mut writer = rig.supervisor(1 << 20);
    for n in 1..=5 {
        progress(&mut writer);
        write(&mut writer, n..=n);
    }
    progress(&mut writer);
    drop(writer);
    for after in [0, 4, 11] {
        let (_, end) = rest(&mut rig.follow(after)).await;
        assert_eq!((end.outcome, end.last_seq, end.lines), (Outcome::Lost, 11, Some(5)), "after {after}");
        assert_eq!(end.dropped_lines, Some(0));
    }
}
