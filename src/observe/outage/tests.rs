use tracing::dispatcher;

use super::*;
use crate::jobs::captured_log::CapturedLog;

const REFUSED: &str = "cannot reach 192.0.2.1:443: Connection refused (os error 111)";
const HOUR: Duration = Duration::from_secs(3600);
/// The mean of the longest delays.
const PAUSE: Duration = Duration::from_secs(30);

/// The lines of an hour in which `step` is called every half minute.
fn hour(mut step: impl FnMut(&mut Outage, u64, Instant)) -> Vec<String> {
    let log = CapturedLog::default();
    let _capturing = dispatcher::set_default(&log.dispatch());
    let mut outage = Outage::default();
    let begun = Instant::now();
    for n in 0..HOUR.as_secs() / PAUSE.as_secs() {
        step(&mut outage, n, begun + PAUSE * u32::try_from(n).unwrap());
    }
    log.text().lines().map(|line| line.trim().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_an_hour_is_told_at_first_and_then_summed_up_every_ten_minutes() {
    let lines = hour(|outage, _, now| outage.failed(REFUSED, PAUSE, now));
    let told = format!("WARN Not connected: {REFUSED}. retry_in=30s");
    assert_eq!(lines[..6], vec![told; 6]);
    let sums = [(21, 10), (41, 20), (61, 30), (81, 40), (101, 50)].map(|(attempts, minutes)| {
        format!("WARN Still not connected: {REFUSED}. retry_in=30s attempts={attempts} minutes={minutes}")
    });
    assert_eq!(lines[6..], sums);
}

#[tokio::test(start_paused = true)]
async fn another_failure_is_told_at_once_and_two_that_take_turns_once_each() {
    let lines = hour(|outage, n, now| match n {
        0..20 => outage.failed(REFUSED, PAUSE, now),
        _ if n % 2 == 0 => outage.failed("cannot reach 192.0.2.2:443: No route to host", PAUSE, now),
        // The clock of each attempt is no failure of its own.
        _ => outage.failed(&format!("not valid yet, the clock here says 00:{n}"), PAUSE, now),
    });
    assert_eq!(lines.iter().filter(|line| line.contains("No route")).count(), 5, "{lines:#?}");
    assert_eq!(lines.iter().filter(|line| line.contains("not valid yet")).count(), 1, "{lines:#?}");
    assert!(lines[6].contains("Still not connected: cannot reach 192.0.2.2"), "{lines:#?}");
    assert!(
        lines[7].starts_with("WARN Not connected: not valid yet, the clock here says 00:21."),
        "{lines:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn no_failure_fills_the_journal_whatever_it_says() {
    let letter = |n: u64| char::from(b'a' + u8::try_from(n % 26).unwrap());
    let lines = hour(|outage, n, now| {
        outage.failed(&String::from_iter([letter(n), letter(n / 26)]), PAUSE, now);
        outage.network_changed(PAUSE, now);
    });
    let changes = lines.iter().filter(|line| line.contains("network of this host")).count();
    assert!(changes <= 36 && lines.len() - changes <= 40, "{} lines: {lines:#?}", lines.len());
}

#[tokio::test(start_paused = true)]
async fn a_dashboard_that_accepts_and_breaks_off_again_and_again_is_summed_up_too() {
    let short = Some(Duration::from_secs(2));
    let closed = "the dashboard closed it (1008: another agent).";
    let mut told = 0;
    let lines = hour(|outage, _, now| {
        outage.over("web-1", now);
        told += usize::from(outage.lost(closed, short, PAUSE, now));
    });
    let count = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    assert_eq!((count("Connection lost: "), count("again and again"), told), (6, 5, 11), "{lines:#?}");
    // Each line is about a state that is another one than in the line before.
    assert_eq!(count("INFO Registered"), 11 + 1, "{lines:#?}");
    let sum = "WARN Connection lost again and again: the dashboard closed it (1008: another agent). retry_in=30s \
               times=21 minutes=10";
    assert!(lines.iter().any(|line| line == sum), "{lines:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_lasts_ends_an_outage_and_says_what_it_took() {
    let log = CapturedLog::default();
    let _capturing = dispatcher::set_default(&log.dispatch());
    let mut outage = Outage::default();
    let mut now = Instant::now();
    outage.over("web-1", now);
    assert_eq!(log.line("Registered"), "INFO Registered with the dashboard. host_id=\"web-1\"");
    for _ in 0..2 {
        now += STEADY;
        assert!(outage.lost("nothing was heard.", Some(STEADY), PAUSE, now), "a new outage");
        for _ in 0..62 {
            now += PAUSE;
            outage.failed(REFUSED, PAUSE, now);
        }
        outage.over("web-1", now);
    }
    let text = log.text();
    let over = "INFO Registered with the dashboard. host_id=\"web-1\" failed=62 minutes=31";
    assert_eq!(text.matches(over).count(), 2, "{text}");
    assert_eq!(text.matches("Connection lost: ").count(), 2, "{text}");
    assert_eq!(text.matches("Not connected: ").count(), 2 * 5, "{text}");
}
