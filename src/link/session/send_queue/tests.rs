use super::*;

fn text(text: &str) -> Frame {
    Frame::Text(text.to_owned())
}

fn beat(lanes: &mut Lanes, seq: u64) -> u64 {
    lanes.heartbeat(seq, seq.to_string())
}

#[test]
fn control_goes_before_output_and_keeps_its_order() {
    let mut lanes = Lanes { bulk: Some(vec![text("line")]), ..Lanes::default() };
    lanes.control(text("status"), Kind::Status);
    lanes.heartbeat(1, "heartbeat".to_owned());
    lanes.control(text("register"), Kind::Other);
    assert_eq!(lanes.take(), Some(vec![text("status"), text("heartbeat"), text("register")]));
    assert_eq!(lanes.take(), Some(vec![text("line")]));
    assert_eq!(lanes.take(), None);
}

#[test]
fn only_the_newest_heartbeat_waits() {
    let mut lanes = Lanes::default();
    beat(&mut lanes, 1);
    lanes.control(text("register"), Kind::Other);
    assert_eq!(beat(&mut lanes, 2) + beat(&mut lanes, 3), 2, "skipped");
    assert_eq!(lanes.take(), Some(vec![text("register"), text("3")]));
}

#[test]
fn a_beat_between_two_statuses_stays_there() {
    let priority = |lanes: &mut Lanes, name: &str| lanes.push(text(name), Kind::Priority);
    let status = |lanes: &mut Lanes, name: &str| assert!(lanes.control(text(name), Kind::Status));
    for queue in [priority, status] {
        let mut lanes = Lanes::default();
        queue(&mut lanes, "status 1");
        beat(&mut lanes, 1);
        beat(&mut lanes, 2);
        queue(&mut lanes, "status 2");
        beat(&mut lanes, 3);
        assert_eq!(lanes.take(), Some(vec![text("status 1"), text("2"), text("status 2"), text("3")]));
    }
}

#[test]
fn the_first_beat_of_a_connection_stays_in_front_of_a_status() {
    let mut lanes = Lanes::default();
    beat(&mut lanes, 1);
    lanes.push(text("status"), Kind::Priority);
    lanes.push(Frame::Ping(1), Kind::Ping);
    beat(&mut lanes, 2);
    assert_eq!(beat(&mut lanes, 3), 1, "the newer one takes the place behind the status");
    assert_eq!(lanes.take(), Some(vec![text("1"), text("status"), Frame::Ping(1), text("3")]));
    beat(&mut lanes, 4);
    lanes.push(text("status"), Kind::Priority);
    assert_eq!(beat(&mut lanes, 5), 1, "a later one is never sent late");
}

#[test]
fn only_beats_that_the_writer_took_count_as_written() {
    let mut lanes = Lanes::default();
    lanes.push(text("status"), Kind::Status);
    beat(&mut lanes, 1);
    beat(&mut lanes, 2);
    lanes.push(text("status"), Kind::Status);
    beat(&mut lanes, 3);
    beat(&mut lanes, 4);
    assert!(lanes.written.is_empty());
    lanes.take();
    assert_eq!(lanes.written, [2, 4]);
    for seq in 5..500 {
        beat(&mut lanes, seq);
        lanes.take();
    }
    assert_eq!(lanes.written.len(), WRITTEN);
}

#[test]
fn a_lane_is_full_by_number_or_size_and_empty_again_when_it_was_taken() {
    let mut lanes = Lanes::default();
    for n in 0..CONTROL {
        assert!(!lanes.is_full(), "{n}");
        assert!(lanes.control(Frame::Ping(1), Kind::Status));
    }
    assert!(lanes.is_full());
    lanes.take();
    assert!(!lanes.is_full());
    lanes.control(Frame::Text("x".repeat(CONTROL_BYTES)), Kind::Other);
    assert!(lanes.is_full());
    lanes.take();
    assert!(!lanes.is_full());
    for seq in 0..10 {
        lanes.heartbeat(seq, "x".repeat(CONTROL_BYTES / 2));
    }
    assert!(!lanes.is_full(), "replaced heartbeats have no size");
}

#[test]
fn the_lane_has_an_end_but_a_heartbeat_and_the_status_of_a_job_always_fit() {
    let mut lanes = Lanes::default();
    for _ in 0..MOST {
        assert!(lanes.control(Frame::Ping(1), Kind::Other));
    }
    assert!(!lanes.control(Frame::Ping(2), Kind::Status));
    lanes.push(text("status"), Kind::Priority);
    lanes.heartbeat(1, "heartbeat".to_owned());
    assert_eq!(lanes.take().unwrap()[MOST..], [text("status"), text("heartbeat")]);
}

#[test]
fn nothing_goes_behind_a_close_frame() {
    let queue = SendQueue::default();
    queue.bulk(vec![text("output")]);
    queue.control(text("answer"));
    queue.control(Frame::Close("shutdown"));
    queue.priority(Frame::Ping(1));
    queue.control(text("rejection"));
    queue.status(text("status"));
    queue.heartbeat(1, "heartbeat".to_owned());
    queue.control(Frame::Close("restart"));
    assert_eq!(queue.lanes().take(), Some(vec![text("answer"), Frame::Close("shutdown")]));
    queue.priority(Frame::Ping(2));
    assert_eq!(queue.lanes().take(), None);
}

#[test]
fn a_beat_behind_a_ping_that_follows_no_status_is_never_sent_late() {
    let mut lanes = Lanes { begun: true, ..Lanes::default() };
    lanes.push(Frame::Ping(1), Kind::Ping);
    beat(&mut lanes, 1);
    lanes.control(text("rejection"), Kind::Other);
    assert_eq!(beat(&mut lanes, 2), 1);
    assert_eq!(lanes.take(), Some(vec![Frame::Ping(1), text("rejection"), text("2")]));
}

#[test]
fn much_is_taken_in_pieces_and_a_status_with_its_beat() {
    let mut lanes = Lanes::default();
    let long = "x".repeat(PIECE / 2 + 1);
    for seq in 1..=5 {
        lanes.push(text(&long), Kind::Priority);
        lanes.push(Frame::Ping(seq), Kind::Ping);
        beat(&mut lanes, seq);
    }
    for seqs in [1..=2, 3..=4, 5..=5] {
        let piece = seqs.flat_map(|seq| [text(&long), Frame::Ping(seq), text(&seq.to_string())]);
        assert_eq!(lanes.take(), Some(piece.collect()));
        // Nothing that was taken can be replaced, and nothing of it is missing.
        assert_eq!(lanes.answers, 2 * lanes.control.len() / 3);
        assert_eq!(lanes.bytes, lanes.control.iter().map(|(frame, _)| size(frame)).sum::<usize>());
    }
    assert_eq!(lanes.take(), None);
}
