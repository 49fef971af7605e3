use std::{io, sync::Arc};

use super::tree::*;
use crate::gpu::reader::{Gpus, SEARCH};
use crate::gpu::sysfs::Sysfs;
use crate::gpu::*;

const NEVER: Duration = Duration::from_secs(3600);

#[test]
fn the_newest_snapshot_is_there_without_reading_anything() {
    let tree = Tree::new();
    let device = tree.gpu("0000:03:00.0", AMD);
    device.write("gpu_busy_percent", "42");
    let handle = spawn_with(tree.reader(), NEVER);
    wait_for("a snapshot", || handle.at(SystemTime::now()).is_some());
    tree.take_read();
    let gpus = handle.at(SystemTime::now()).unwrap();
    assert_eq!(gpus[0].usage, Some(0.42));
    assert_eq!(tree.take_read(), [""; 0]);
    assert_eq!(handle.timeouts(), 0);
}

#[test]
fn looks_follow_the_interval_within_bounds() {
    for (interval, period) in [(0, 500), (1, 1_000), (4, 4_000), (5, 5_000), (30, 5_000), (3_600, 5_000)] {
        assert_eq!(period_for(Duration::from_secs(interval)), Duration::from_millis(period), "{interval} s");
    }
    assert!(MAX_PERIOD * 3 <= MAX_AGE, "a look may be late without a beat going without");
}

#[test]
fn changes_show_at_the_next_look() {
    let tree = Tree::new();
    let device = tree.gpu("0000:03:00.0", AMD);
    device.write("gpu_busy_percent", "1");
    let handle = spawn_with(tree.reader(), Duration::ZERO);
    let usage = || handle.at(SystemTime::now()).and_then(|gpus| gpus[0].usage);
    wait_for("the first usage", || usage() == Some(0.01));
    device.write("gpu_busy_percent", "99");
    wait_for("the second usage", || usage() == Some(0.99));
}

#[test]
fn a_snapshot_is_reported_only_while_it_is_fresh() {
    let taken_at = SystemTime::now();
    let tree = Tree::new();
    tree.gpu("0000:03:00.0", AMD);
    let second = Duration::from_secs(1);
    // That there are none is said for longer, because it is looked up less often.
    for (gpus, limit) in [(tree.gpus(), MAX_AGE), (Vec::new(), MAX_AGE + SEARCH)] {
        let snapshot = Snapshot { gpus, taken_at, unanswered: 0 };
        for (now, fresh) in [
            (taken_at, true),
            (taken_at + limit, true),
            (taken_at + limit + second, false),
            (taken_at - limit, true),
            (taken_at - limit - second, false),
        ] {
            assert_eq!(snapshot.fresh(now).is_some(), fresh);
        }
    }
}

#[test]
fn a_file_that_hangs_costs_the_readings_and_nothing_else() {
    let tree = Tree::new();
    tree.gpu("0000:03:00.0", AMD);
    let (released, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let sysfs = Sysfs::with(Box::new(move |path| {
        if path.ends_with("gpu_busy_percent") {
            // Until the test ends.
            wait.lock().unwrap().recv().unwrap_or(());
        }
        nixfleet_os::bounded_read::read(path, 4096)
    }));
    let handle = spawn_with(Gpus::with(&tree.sources(), sysfs), NEVER);
    let begun = Instant::now();
    let now = SystemTime::now();
    assert_eq!((handle.at(now), handle.timeouts()), (None, 0), "it may still be starting");
    let later = now + MAX_AGE + Duration::from_secs(1);
    assert_eq!((handle.at(later), handle.timeouts()), (None, 1));
    assert_eq!((handle.at(later), handle.timeouts()), (None, 2));
    assert!(begun.elapsed() < Duration::from_secs(5), "a beat does not wait");
    drop(handle);
    drop(released);
}

#[test]
fn the_thread_ends_with_its_handle() {
    let tree = Tree::new();
    let alive = Arc::new(());
    let held = Arc::clone(&alive);
    let sysfs = Sysfs::with(Box::new(move |_| {
        let _held = &held;
        Err(io::ErrorKind::NotFound.into())
    }));
    let handle = spawn_with(Gpus::with(&tree.sources(), sysfs), NEVER);
    wait_for("a snapshot", || handle.at(SystemTime::now()).is_some());
    assert_eq!(Arc::strong_count(&alive), 2);
    drop(handle);
    wait_for("the end of the thread", || Arc::strong_count(&alive) == 1);
}

#[test]
fn the_usual_places_are_tried_unless_one_is_given() {
    let usual = Sources::new("/sys".into(), None);
    let places = [
        "/run/opengl-driver/lib/libnvidia-ml.so.1",
        "libnvidia-ml.so.1",
        "/usr/lib/wsl/lib/libnvidia-ml.so.1",
    ];
    assert_eq!(usual.nvml, places.map(PathBuf::from));
    let given = Sources::new("/sys".into(), Some("/opt/libnvidia-ml.so.1".into()));
    assert_eq!(given.nvml, [PathBuf::from("/opt/libnvidia-ml.so.1")]);
}

#[test]
fn a_host_without_gpus_has_no_thread_for_them_and_finds_one_that_comes() {
    let tree = Tree::new();
    let handle = spawn_with(tree.reader(), Duration::ZERO);
    let gpus = || handle.at(SystemTime::now());
    wait_for("the first search", || gpus() == Some(Vec::new()) && handle.search.lock().is_some());
    let device = tree.gpu("0000:03:00.0", AMD);
    device.write("gpu_busy_percent", "42");
    handle.search().begin();
    wait_for("the GPU", || gpus().is_some_and(|gpus| gpus.len() == 1));
    assert!(handle.search.lock().is_none(), "a thread reads it");
    handle.search().begin();
    assert!(handle.search.lock().is_none());
}
