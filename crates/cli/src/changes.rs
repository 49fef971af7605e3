//! What has changed about a host.

use serde::Serialize;

use crate::fleet_view::Host;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Change {
    /// It gives signs of life.
    Online,
    /// It has given none for too long.
    Offline,
    /// A gateway has a new connection of it.
    Connected { gateway: String, connection: u64 },
    /// Its connection has ended.
    Left { because: String },
    /// A command runs.
    Started { command: String },
}

/// What to look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    online: bool,
    connection: Option<u64>,
    connected: bool,
    running: Option<String>,
}

impl From<&Host> for Seen {
    fn from(host: &Host) -> Self {
        let standing = host.standing();
        Self {
            online: standing.online,
            connection: host.owner.as_ref().map(|owner| owner.connection),
            connected: standing.connected,
            // Also by a heartbeat of the connection before: a command does not start again with a new one.
            running: host.beat.as_ref().and_then(|(_, beat)| beat.pending_command.clone()),
        }
    }
}

/// What has changed since `before`.
pub(crate) fn changes(before: &Seen, host: &Host) -> Vec<Change> {
    let now = Seen::from(host);
    let mut changes = Vec::new();
    if let Some(owner) = &host.owner {
        if now.connected && (now.connection != before.connection || !before.connected) {
            let (gateway, connection) = (owner.gateway.clone(), owner.connection);
            changes.push(Change::Connected { gateway, connection });
        }
        if let Some(left) =
            owner.left.as_ref().filter(|_| before.connected || now.connection != before.connection)
        {
            changes.push(Change::Left { because: left.why.clone() });
        }
    }
    match (before.online, now.online) {
        (false, true) => changes.push(Change::Online),
        (true, false) => changes.push(Change::Offline),
        _ => {}
    }
    // A host that cannot say it now has not stopped.
    if let Some(command) = &now.running
        && before.running.as_ref() != Some(command)
    {
        changes.push(Change::Started { command: command.clone() });
    }
    changes
}

#[cfg(test)]
mod tests {
    use nixfleet_fleet::{BeatAt, Left, Owner};
    use nixfleet_protocol::Heartbeat;

    use super::*;

    fn host(connection: u64, left: bool, beat: bool, running: Option<&str>) -> Host {
        let left = left.then(|| Left { at_ms: 1, why: "gone".to_owned() });
        let pending_command = running.map(str::to_owned);
        let heartbeat = Heartbeat { pending_command, ..Heartbeat::default() };
        Host {
            owner: Some(Owner { gateway: "gw".to_owned(), connection, since_ms: 1, left }),
            facts: None,
            beat: beat.then(|| (BeatAt { connection, at_ms: 1 }, Box::new(heartbeat))),
            expired_ms: None,
        }
    }

    #[test]
    fn a_new_connection_does_not_start_a_command_again() {
        let old = host(1, false, true, Some("switch"));
        let before = Seen::from(&old);
        let moved = Host { owner: host(2, false, false, None).owner, ..old };
        let connected = Change::Connected { gateway: "gw".to_owned(), connection: 2 };
        assert_eq!(changes(&before, &moved), [connected]);
        assert_eq!(changes(&Seen::from(&moved), &host(2, false, true, Some("switch"))), []);
    }

    #[test]
    fn each_change_is_told_once() {
        let connected = |connection| Change::Connected { gateway: "gw".to_owned(), connection };
        let started = |command: &str| Change::Started { command: command.to_owned() };
        let left = || Change::Left { because: "gone".to_owned() };
        let mut before = Seen::default();
        for (host, wanted) in [
            (host(1, false, false, None), vec![connected(1)]),
            (host(1, false, true, None), vec![Change::Online]),
            (host(1, false, true, None), vec![]),
            (host(1, false, true, Some("pull")), vec![started("pull")]),
            (host(1, false, true, Some("pull")), vec![]),
            (host(1, false, true, Some("switch")), vec![started("switch")]),
            (host(1, false, true, None), vec![]),
            (host(1, true, true, None), vec![left()]),
            (host(1, true, false, None), vec![Change::Offline]),
            (host(2, false, false, None), vec![connected(2)]),
            (host(3, false, true, None), vec![connected(3), Change::Online]),
            (host(4, true, true, None), vec![left()]),
        ] {
            assert_eq!(changes(&before, &host), wanted, "{host:?}");
            before = Seen::from(&host);
        }
    }
}
