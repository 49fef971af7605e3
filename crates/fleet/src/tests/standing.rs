//! Rules for readers.

use crate::{BeatAt, Left, Owner, Standing};

fn owner(connection: u64, ended: bool) -> Owner {
    let left = ended.then(|| Left { at_ms: 2, why: "the connection ended".to_owned() });
    Owner { gateway: "one".to_owned(), connection, since_ms: 1, left }
}

#[test]
fn a_host_stands_as_its_entries_say() {
    let (online, connected, current) = (true, true, true);
    let rows = [
        (None, None, (false, false, false)),
        (None, Some(3), (online, false, current)),
        (Some((3, false)), None, (false, connected, false)),
        (Some((3, false)), Some(3), (online, connected, current)),
        // The reader has not heard of the newer owner yet.
        (Some((3, false)), Some(4), (online, connected, current)),
        // It has moved and not sent a heartbeat since.
        (Some((3, false)), Some(2), (online, connected, false)),
        // The connection has ended, and the deadline has not passed.
        (Some((3, true)), Some(3), (online, false, current)),
        (Some((3, true)), Some(2), (online, false, false)),
        (Some((3, true)), None, (false, false, false)),
    ];
    for (had, beat, (online, connected, current)) in rows {
        let owner = had.map(|(connection, ended)| owner(connection, ended));
        let beat = beat.map(|connection| BeatAt { connection, at_ms: 1 });
        let stands = Standing::of(owner.as_ref(), beat.as_ref());
        assert_eq!(stands, Standing { online, connected }, "{had:?} {beat:?}");
        let is_current = beat.is_some_and(|beat| beat.is_current(owner.as_ref()));
        assert_eq!(is_current, current, "{had:?} {beat:?}");
    }
}
