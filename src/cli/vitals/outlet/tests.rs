use std::sync::mpsc::Receiver;

use tokio::time::Instant;

use super::*;

/// A writer that blocks until the test lets it write.
struct Gate(Receiver<()>, mpsc::Sender<Vec<u8>>);

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
        self.1.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_hangs_holds_up_nobody_and_the_queue_stays_short() {
    let (open, gate) = mpsc::channel();
    let (out, written) = mpsc::channel();
    let mut lines = Lines::start(Gate(gate, out)).unwrap();
    for number in 0..1000 {
        lines.put(number.to_string());
    }
    assert!(lines.skipped > 0);
    for _ in 0..QUEUE {
        open.send(()).unwrap();
    }
    let first: Vec<String> =
        written.iter().take(QUEUE).map(|bytes| String::from_utf8(bytes).unwrap()).collect();
    assert_eq!(first[..2], ["0\n", "1\n"], "whole lines, in order");
    let begun = Instant::now();
    lines.put("the last".to_owned());
    lines.finish().await;
    // In virtual time; timers round up to a millisecond.
    assert!(begun.elapsed() <= PATIENCE + Duration::from_millis(1), "{:?}", begun.elapsed());
    // The thread itself holds one more line. It ends, with its gate, after the rest is written.
    while open.send(()).is_ok() {
        std::thread::yield_now();
    }
    assert!(written.iter().take(2 * QUEUE).count() <= QUEUE + 1, "what waited was bounded");
}

#[tokio::test]
async fn a_reader_that_leaves_is_no_error_and_a_full_disk_is_one() {
    let (open, gate) = mpsc::channel();
    let mut lines = Lines::start(Gate(gate, mpsc::channel().0)).unwrap();
    drop(open);
    lines.put("x".to_owned());
    lines.ended().await.unwrap();
    let mut lines = Lines::start(std::fs::File::options().write(true).open("/dev/full").unwrap()).unwrap();
    lines.put("x".to_owned());
    assert_eq!(lines.ended().await.unwrap_err().kind(), io::ErrorKind::StorageFull);
}

#[test]
fn entries_reach_the_journal_again_after_its_restart_and_a_busy_one_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let mut journal = Journal::at(&path);
    assert!(journal.send(b"A=1\n").is_err(), "nobody listens");
    journal.put(b"A=1\n");

    for _ in 0..2 {
        let listener = UnixDatagram::bind(&path).unwrap();
        journal.put(b"A=2\n");
        let mut buffer = [0; 64];
        listener.set_nonblocking(true).unwrap();
        let length = listener.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"A=2\n");
        drop(listener);
        std::fs::remove_file(&path).unwrap();
    }

    let _idle = UnixDatagram::bind(&path).unwrap();
    let begun = std::time::Instant::now();
    for _ in 0..10_000 {
        journal.put(b"A=3\n");
    }
    assert!(journal.broken && begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
