//! What NATS has of each host.

use std::collections::BTreeMap;

use async_nats::jetstream::Context;
use nixfleet_fleet::names::{BEATS, HOSTS, OWNERS};
use nixfleet_fleet::{BeatAt, Owner, Standing};
use nixfleet_protocol::{AgentMessage, Heartbeat, Register};

use crate::reader::{Begin, Entry, MOST_NAMED, Made, ReadError, Reader};

/// The streams and buckets with owners, facts and heartbeats.
pub(crate) const BUCKETS: [(&str, &str); 3] =
    [("KV_fleet_owners", OWNERS), ("KV_fleet_hosts", HOSTS), ("KV_fleet_beats", BEATS)];

/// One host.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Host {
    /// Who has its connection.
    pub(crate) owner: Option<Owner>,
    /// Its newest `register`.
    pub(crate) facts: Option<Box<Register>>,
    /// Its newest heartbeat, while that lives.
    pub(crate) beat: Option<(BeatAt, Box<Heartbeat>)>,
    /// When its heartbeat expired, in Unix milliseconds, as long as NATS remembers it.
    pub(crate) expired_ms: Option<i64>,
}

impl Host {
    /// How it stands.
    pub(crate) fn standing(&self) -> Standing {
        Standing::of(self.owner.as_ref(), self.beat.as_ref().map(|(at, _)| at))
    }

    /// Its newest heartbeat, if that is of its newest connection.
    pub(crate) fn heartbeat(&self) -> Option<&Heartbeat> {
        let (at, heartbeat) = self.beat.as_ref()?;
        at.is_current(self.owner.as_ref()).then_some(heartbeat)
    }

    /// The command that runs.
    pub(crate) fn running(&self) -> Option<&str> {
        self.heartbeat()?.pending_command.as_deref()
    }

    /// The commit that it is at, or the empty text.
    pub(crate) fn commit(&self) -> &str {
        let of_facts = || self.facts.as_ref().map_or("", |facts| &facts.generation);
        self.heartbeat()
            .map(|beat| beat.generation.as_str())
            .filter(|text| !text.is_empty())
            .unwrap_or_else(of_facts)
    }

    /// Since when it is as it is, in Unix milliseconds: connected, not connected, or offline.
    pub(crate) fn since_ms(&self) -> Option<i64> {
        let owner = self.owner.as_ref();
        match owner.and_then(|owner| owner.left.as_ref()) {
            Some(left) => Some(left.at_ms),
            None if self.beat.is_some() => owner.map(|owner| owner.since_ms),
            // Its gateway could not say that it left.
            None => self.expired_ms,
        }
    }
}

/// All hosts, by name.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    pub(crate) hosts: BTreeMap<String, Host>,
}

/// The parts of a fleet, each in a bucket, with the readers that go on.
pub(crate) struct Readers {
    pub(crate) owners: Reader,
    pub(crate) facts: Reader,
    pub(crate) beats: Reader,
}

impl Readers {
    /// Reads what is there of these hosts into `fleet`, or of all if they are many or not known by name.
    pub(crate) async fn open(
        jetstream: &Context,
        names: Option<&[String]>,
        fleet: &mut Fleet,
    ) -> Result<Self, ReadError> {
        let [owners, facts, beats] = BUCKETS;
        let open = |(stream, bucket): (&'static str, &str)| {
            // NATS gives the last entry of each subject only to who names the subjects.
            let all = vec![">".to_owned()];
            let of = |names: &[String]| names.iter().map(|name| format!("$KV.{bucket}.{name}")).collect();
            let subjects = names.filter(|names| names.len() <= MOST_NAMED).map_or(all, of);
            Reader::open(jetstream, stream, Begin::Newest, subjects)
        };
        let mut owners = open(owners).await?;
        let mut facts = open(facts).await?;
        let mut beats = open(beats).await?;
        owners.catch_up(|entry| fleet.owner(&entry)).await?;
        facts.catch_up(|entry| fleet.facts(&entry)).await?;
        beats.catch_up(|entry| fleet.beat(&entry)).await?;
        Ok(Self { owners, facts, beats })
    }

    /// The buckets that are read.
    pub(crate) fn made(&self) -> Vec<Made> {
        vec![self.owners.made(), self.facts.made(), self.beats.made()]
    }
}

impl Fleet {
    /// What is there now of these hosts, or of all.
    pub(crate) async fn read(jetstream: &Context, names: Option<&[String]>) -> Result<Self, ReadError> {
        let mut fleet = Self::default();
        Readers::open(jetstream, names, &mut fleet).await?;
        Ok(fleet)
    }

    fn host(&mut self, entry: &Entry) -> &mut Host {
        self.hosts.entry(entry.host.clone()).or_default()
    }

    /// An entry of the owners. One that cannot be read is skipped, as docs/fleet.md says.
    pub(crate) fn owner(&mut self, entry: &Entry) {
        if let Ok(owner) = serde_json::from_slice(&entry.payload) {
            self.host(entry).owner = Some(owner);
        }
    }

    /// An entry of the facts.
    pub(crate) fn facts(&mut self, entry: &Entry) {
        if let Some(Ok(AgentMessage::Register(register))) = entry.text().map(AgentMessage::decode) {
            self.host(entry).facts = Some(register);
        }
    }

    /// A heartbeat, or the marker of one that has expired.
    pub(crate) fn beat(&mut self, entry: &Entry) {
        let Some(at) = BeatAt::read(entry.headers.as_ref()) else {
            let host = self.host(entry);
            host.beat = None;
            host.expired_ms = Some(entry.stored_ms);
            return;
        };
        let Some(Ok(AgentMessage::Heartbeat(heartbeat))) = entry.text().map(AgentMessage::decode) else {
            return;
        };
        let host = self.host(entry);
        // One of an older connection shows that the host was there, and nothing else.
        if host.beat.is_some() && !at.is_current(host.owner.as_ref()) {
            return;
        }
        host.beat = Some((at, heartbeat));
        host.expired_ms = None;
    }
}

#[cfg(test)]
mod tests;
