//! No name leads to a subject of another one.

use proptest::prelude::*;

use nixfleet_protocol::is_hostname;

use crate::names::{beat, command, facts, host_of, said, status};

#[test]
fn a_subject_with_another_name_has_no_host() {
    for subject in [
        "fleet.up.>",
        "fleet.cmd.*",
        "fleet.cmd.",
        "fleet.gateway.a.evict",
        "fleet",
        "$KV.fleet_beats",
        "x.up.a",
    ] {
        assert_eq!(host_of(subject), None, "{subject}");
    }
}

proptest! {
    #[test]
    fn every_subject_of_a_host_is_its_own(one in "[A-Za-z0-9-]{1,63}", two in "[A-Za-z0-9-]{1,63}") {
        prop_assert!(is_hostname(&one));
        let of = |host: &str| [beat(host), facts(host), command(host), status(host), said(host, "output")];
        for (subject, other) in of(&one).iter().zip(of(&two)) {
            prop_assert_eq!(host_of(subject), Some(one.as_str()));
            // Also two names that differ in their case only.
            prop_assert_eq!(*subject == other, one == two);
        }
    }

    #[test]
    fn a_hostile_name_is_no_host(name in "\\PC{0,20}", bad in "[.*> \t\r\n_$/\u{0}\u{e9}]", at in 0_usize..20) {
        let mut name: Vec<char> = name.chars().collect();
        name.insert(at.min(name.len()), bad.chars().next().unwrap());
        prop_assert!(!is_hostname(&name.iter().collect::<String>()));
    }
}
