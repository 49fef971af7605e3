//! Connections of one host on several gateways.

use nixfleet_fleet::{Claim, Left, Owner, facts};

use crate::rig::{Rig, soon};

fn ended(at_ms: i64) -> Left {
    Left { at_ms, why: "the test ends it".to_owned() }
}

#[tokio::test]
async fn numbers_count_up_over_gateways_and_ends() {
    let Some(rig) = Rig::start().await else { return };
    let owners = rig.layout().await.owners;
    let first = Claim::take(&owners, "web-1", "one", 10).await.unwrap();
    assert_eq!((first.owner.connection, &first.replaced), (1, &None));
    let second = Claim::take(&owners, "web-1", "two", 20).await.unwrap();
    assert_eq!((second.owner.connection, second.replaced.as_ref()), (2, Some(&first.owner)));
    // The first one has lost it, and says nothing about the second.
    assert!(!first.leave(&owners, "web-1", ended(30)).await.unwrap());
    assert_eq!(Owner::of(&owners, "web-1").await.unwrap(), Some(second.owner.clone()));
    assert!(second.leave(&owners, "web-1", ended(40)).await.unwrap());
    let third = Claim::take(&owners, "web-1", "one", 50).await.unwrap();
    assert_eq!((third.owner.connection, &third.replaced), (3, &None), "nothing was there to be replaced");
    // Hosts whose names differ in their case only are two.
    assert_eq!(Claim::take(&owners, "WEB-1", "one", 60).await.unwrap().owner.connection, 1);
}

#[tokio::test]
async fn an_entry_that_is_deleted_or_damaged_never_leads_back() {
    let Some(rig) = Rig::start().await else { return };
    let owners = rig.layout().await.owners;
    for _ in 0..3 {
        Claim::take(&owners, "web-1", "one", 1).await.unwrap();
    }
    owners.put("web-1", "no json".into()).await.unwrap();
    let after = Claim::take(&owners, "web-1", "one", 1).await.unwrap().owner.connection;
    assert!(after > 3, "{after}");
    owners.delete("web-1").await.unwrap();
    let last = Claim::take(&owners, "web-1", "one", 1).await.unwrap().owner.connection;
    assert!(last > after, "{last}");
}

#[tokio::test]
async fn of_twins_that_race_exactly_one_is_newest() {
    let Some(rig) = Rig::start().await else { return };
    let owners = rig.layout().await.owners;
    let twins = ["one", "two", "three", "four"].map(|gateway| {
        let owners = owners.clone();
        tokio::spawn(async move { Claim::take(&owners, "web-1", gateway, 1).await.unwrap() })
    });
    let mut claims = Vec::new();
    for twin in twins {
        claims.push(soon("a claim", twin).await.unwrap());
    }
    claims.sort_by_key(|claim| claim.owner.connection);
    let numbers: Vec<_> = claims.iter().map(|claim| claim.owner.connection).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    // Each one but the first evicts the one before it.
    for pair in claims.windows(2) {
        assert_eq!(pair[1].replaced.as_ref(), Some(&pair[0].owner));
    }
    let mut left = Vec::new();
    for claim in claims {
        left.push(claim.leave(&owners, "web-1", ended(2)).await.unwrap());
    }
    assert_eq!(left, [false, false, false, true]);
}

#[tokio::test]
async fn facts_of_an_older_connection_come_too_late() {
    let Some(rig) = Rig::start().await else { return };
    let hosts = rig.layout().await.hosts;
    for (connection, text, newest) in
        [(2, "two", true), (1, "one", false), (2, "again", true), (3, "three", true)]
    {
        let stored = facts::store(&rig.jetstream, &hosts, "web-1", connection, 5, text.into()).await.unwrap();
        assert_eq!(stored, newest, "{text}");
    }
    assert_eq!(hosts.get("web-1").await.unwrap().unwrap(), "three");
}
