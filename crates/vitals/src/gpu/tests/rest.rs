use super::tree::*;
use crate::gpu::*;

fn second(start: Instant, second: u64) -> Instant {
    start + Duration::from_secs(second)
}

#[test]
fn an_idle_gpu_that_may_sleep_is_left_alone_for_half_a_minute() {
    let tree = Tree::new();
    tree.gpu("0000:03:00.0", AMD).awake().write("gpu_busy_percent", "0");
    let mut reader = tree.reader();
    let start = Instant::now();
    let mut seen = Vec::new();
    for at in (0..=80).step_by(5) {
        let gpu = reader.read(second(start, at)).remove(0);
        if gpu.status == Status::Resting {
            assert_no_reading(&gpu);
        } else {
            assert_eq!((gpu.status, gpu.usage), (Status::Ok, Some(0.0)));
            seen.push(at);
        }
    }
    assert_eq!(seen, [0, 5, 10, 40, 70]);
}

#[test]
fn a_gpu_that_rests_is_not_asked_anything() {
    let tree = Tree::new();
    tree.gpu("0000:03:00.0", AMD).awake().write("gpu_busy_percent", "0");
    let mut reader = tree.reader();
    let start = Instant::now();
    reader.read(start);
    reader.read(second(start, 10));
    tree.take_read();
    assert_eq!(reader.read(second(start, 15))[0].status, Status::Resting);
    assert_eq!(tree.take_read(), ["runtime_status", "control"]);
}

#[test]
fn a_gpu_that_never_sleeps_or_has_work_is_always_asked() {
    for (control, usage) in [("on\n", "0"), ("auto\n", "1"), ("auto\n", "100")] {
        let tree = Tree::new();
        tree.gpu("0000:03:00.0", AMD).write("power/control", control).write("gpu_busy_percent", usage);
        let mut reader = tree.reader();
        let start = Instant::now();
        for at in (0..100).step_by(5) {
            assert_eq!(reader.read(second(start, at))[0].status, Status::Ok, "{control} {usage}");
        }
    }
}

#[test]
fn work_between_two_idle_looks_begins_the_count_anew() {
    let tree = Tree::new();
    let device = tree.gpu("0000:03:00.0", AMD);
    device.awake();
    let mut reader = tree.reader();
    let start = Instant::now();
    for (at, usage) in [(0, "0"), (5, "0"), (8, "50"), (12, "0"), (20, "0")] {
        device.write("gpu_busy_percent", usage);
        assert_eq!(reader.read(second(start, at))[0].status, Status::Ok, "{at} s");
    }
}

#[test]
fn a_gpu_that_somebody_woke_is_asked_at_once() {
    let tree = Tree::new();
    let device = tree.gpu("0000:03:00.0", AMD);
    device.awake().write("gpu_busy_percent", "0");
    let mut reader = tree.reader();
    let start = Instant::now();
    let mut status = |at| reader.read(second(start, at))[0].status;
    assert_eq!([status(0), status(10), status(15)], [Status::Ok, Status::Ok, Status::Resting]);
    device.suspended();
    assert_eq!(status(20), Status::Suspended);
    device.awake().write("gpu_busy_percent", "88");
    assert_eq!(status(25), Status::Ok);
}
