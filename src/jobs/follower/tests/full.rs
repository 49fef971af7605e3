//! A follower whose items nobody takes, as while the dashboard is away.

use std::process::{Child, Command};
use std::thread;

use super::*;

/// Long before the follower would look by itself.
const SOON: Duration = Duration::from_secs(5);

const _: () = assert!(SOON.as_secs() < LONG_CHECK_INTERVAL.as_secs());

/// A process in the place of a supervisor. It ends with this.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Its id is in the state.
fn process(rig: &Rig) -> Process {
    let child = Command::new("sleep").arg("600").spawn().unwrap();
    let state = State {
        supervisor_pid: child.id(),
        child_pid: Some(7),
        step: 0,
        step_name: "pull".to_owned(),
        phase: None,
        phase_since: None,
    };
    store(&rig.dir.state(), &state).unwrap();
    Process(child)
}

async fn fill(writer: &mut Writer, follower: &mut Follower) {
    write(writer, 1..=5_000);
    let begun = Instant::now();
    while follower.items.len() < CHANNEL {
        assert!(begun.elapsed() < LIMIT, "the channel never filled");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    until_live(follower, Live { pid: Some(7), ended: false }).await;
}

#[tokio::test]
async fn the_end_of_a_job_frees_the_slot_at_once_although_nobody_takes_its_output() {
    for killed in [false, true] {
        let rig = Rig::new();
        let mut writer = rig.supervisor(8 << 20);
        let supervisor = process(&rig);
        let mut follower = rig.follow(0);
        fill(&mut writer, &mut follower).await;
        // By now the follower sleeps.
        tokio::time::sleep(2 * CHECK_INTERVAL).await;
        let begun = Instant::now();
        if !killed {
            rig.store_result(&writer);
        }
        drop(writer);
        drop(supervisor);
        until_live(&mut follower, Live { pid: None, ended: true }).await;
        assert!(begun.elapsed() < SOON, "killed: {killed}, {:?}", begun.elapsed());
        let (entries, result) = rest(&mut follower).await;
        let texts = entries.iter().filter(|entry| entry.is_text() && entry.stream == Source::Stdout).count();
        assert_eq!(texts, 5_000);
        assert_eq!(result.outcome, if killed { Outcome::Lost } else { Outcome::Ok });
    }
}

#[cfg(target_os = "linux")]
#[test]
fn it_sleeps_while_the_command_writes_and_wakes_for_room_and_for_the_end() {
    /// Longer than the interval of a follower that has to look.
    const WRITES: Duration = Duration::from_millis(1_500);
    assert!(WRITES > 2 * CHECK_INTERVAL);
    for room in [false, true] {
        let rig = Rig::new();
        let mut writer = rig.supervisor(8 << 20);
        let supervisor = process(&rig);
        let (mut thread, follower) = rig.thread();
        let link = thread.link();
        assert!(thread.wait_for_folder());
        let seen = thread.look(true);
        thread.note_supervisor(&seen);
        let begun = Instant::now();
        let waiting = thread::spawn(move || {
            thread.wait_for_room(false);
            begun.elapsed()
        });
        while begun.elapsed() < WRITES {
            write(&mut writer, 1..=10);
            thread::sleep(Duration::from_millis(20));
        }
        assert!(!waiting.is_finished(), "it looked while the command wrote");
        if room {
            link.take_one()
        } else {
            drop(rig.store_result(&writer))
        }
        let waited = waiting.join().unwrap();
        assert!((WRITES..SOON).contains(&waited), "room: {room}, {waited:?}");
        drop(supervisor);
        drop(follower);
    }
}
