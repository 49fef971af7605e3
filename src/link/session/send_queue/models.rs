//! A model of the hand-over from the session to the writer. Both are tasks of one thread, so fewer interleavings happen
//! than here.

use std::sync::Arc;

use nixfleet_os::model::check;
use nixfleet_os::sync::{block_on, thread};

use super::*;

/// The session queues answers, heartbeats and output while the writer takes them. Answers and output arrive once and
/// in their order, the last heartbeat arrives, and each wait of the session ends.
fn nothing_waits_for_ever() {
    let queue = Arc::new(SendQueue::default());
    let taken = Arc::clone(&queue);
    let writer = thread::spawn(move || {
        let mut frames = Vec::new();
        loop {
            let next = block_on(taken.next());
            assert!(!next.is_empty(), "a wake-up means that there is something to write");
            frames.extend(next);
            if frames.last() == Some(&Frame::Close("end")) {
                return frames;
            }
        }
    });
    let text = |name: &str| Frame::Text(name.to_owned());
    assert_eq!(queue.heartbeat(1, "beat 1".to_owned()), 0);
    assert_eq!(block_on(queue.beat_written()), 1);
    assert!(queue.control(text("answer 1")));
    block_on(queue.room());
    queue.bulk(vec![text("line 1")]);
    // As much as makes the lane full: the session waits for the writer.
    assert!(queue.control(Frame::Text("x".repeat(CONTROL_BYTES))));
    queue.heartbeat(2, "beat 2".to_owned());
    let skipped = queue.heartbeat(3, "beat 3".to_owned());
    block_on(queue.answerable());
    block_on(queue.room());
    queue.bulk(vec![text("line 2")]);
    let mut beats = vec![1];
    beats.extend((skipped..2).map(|_| block_on(queue.beat_written())));
    block_on(queue.room());
    assert!(queue.control(Frame::Close("end")));
    let frames = writer.join().expect("the writer does not panic");
    let mut names = Vec::new();
    for frame in &frames {
        match frame {
            Frame::Text(text) => names.push(text.get(..8).unwrap_or(text)),
            Frame::Ping(_) | Frame::Close(_) => {}
        }
    }
    let of = |kind: &str| names.iter().copied().filter(|name| name.starts_with(kind)).collect::<Vec<_>>();
    assert_eq!(of("answer"), ["answer 1"]);
    assert_eq!(of("line"), ["line 1", "line 2"]);
    assert_eq!(of("xxxxxxxx").len(), 1);
    let sent: Vec<String> = beats.iter().map(|beat| format!("beat {beat}")).collect();
    assert_eq!(of("beat"), sent, "each heartbeat that was written is told as written");
    assert_eq!(beats.last(), Some(&3));
}

#[test]
fn frames_and_wake_ups() {
    let beat = ("beat-without-a-word", "the writer is not woken for a heartbeat");
    let room = ("output-without-a-word", "the session is not woken when output was taken");
    let drained = ("drained-without-a-word", "the session is not woken when answers were taken");
    check("send queue", &[beat, room, drained], nothing_waits_for_ever);
}
