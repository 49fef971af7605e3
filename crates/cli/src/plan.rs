//! Which hosts are asked one after the other, and which together.

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::str::FromStr;

/// How many hosts a wave has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// So many.
    Hosts(NonZeroUsize),
    /// So many hundredths of all hosts, 1 to 100, rounded up: a wave has a host at least.
    Percent(u8),
    /// All that are left.
    All,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no size of a wave; write a number from 1 on, 1% to 100%, or all");
        if text == "all" {
            return Ok(Self::All);
        }
        match text.strip_suffix('%') {
            Some(percent) => match percent.parse() {
                Ok(percent @ 1..=100) => Ok(Self::Percent(percent)),
                _ => Err(wrong()),
            },
            None => text.parse().map(Self::Hosts).map_err(|_| wrong()),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hosts(hosts) => write!(f, "{hosts}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::All => f.write_str("all"),
        }
    }
}

impl Size {
    /// The count of hosts, of so many in whole.
    fn of(self, whole: usize) -> usize {
        match self {
            Self::Hosts(hosts) => hosts.get(),
            Self::Percent(percent) => (whole * usize::from(percent)).div_ceil(100).max(1),
            Self::All => whole.max(1),
        }
    }
}

/// The waves of so many hosts, in order: each host is in one of them. The last size of `then` is repeated until all
/// hosts are in one. Without it, all that the canary leaves are the second wave.
pub(crate) fn waves(hosts: usize, canary: Option<Size>, then: &[Size]) -> Vec<Range<usize>> {
    let mut sizes = canary.into_iter().chain(then.iter().copied());
    let last = then.last().copied().unwrap_or(Size::All);
    let mut waves = Vec::new();
    let mut begin = 0;
    while begin < hosts {
        let size = sizes.next().unwrap_or(last).of(hosts);
        let end = begin.saturating_add(size).min(hosts);
        waves.push(begin..end);
        begin = end;
    }
    waves
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sizes(hosts: usize, canary: &str, then: &[&str]) -> Vec<usize> {
        let size = |text: &&str| text.parse::<Size>().unwrap();
        let canary = Some(canary).filter(|text| !text.is_empty()).map(|text| size(&text));
        let then: Vec<Size> = then.iter().map(size).collect();
        waves(hosts, canary, &then).into_iter().map(|wave| wave.len()).collect()
    }

    #[test]
    fn waves_are_as_long_as_they_are_said() {
        let cases: [(usize, &str, &[&str], &[usize]); 13] = [
            (0, "1", &["all"], &[]),
            (1, "1", &["10%", "all"], &[1]),
            (5, "", &[], &[5]),
            (5, "1", &[], &[1, 4]),
            (120, "1", &["10%", "all"], &[1, 12, 107]),
            (125, "1", &["10%", "all"], &[1, 13, 111]),
            (10, "", &["3"], &[3, 3, 3, 1]),
            (10, "1", &["4", "2"], &[1, 4, 2, 2, 1]),
            (10, "", &["50%"], &[5, 5]),
            (3, "1%", &["1%"], &[1, 1, 1]),
            (10, "20", &["1"], &[10]),
            (10, "", &["all", "1"], &[10]),
            (7, "100%", &["1"], &[7]),
        ];
        for (hosts, canary, then, wanted) in cases {
            assert_eq!(sizes(hosts, canary, then), wanted, "{hosts} {canary} {then:?}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "0", "-1", "0%", "101%", "1.5", "10 %", "ten", "ALL", "%", "256%"] {
            let why = text.parse::<Size>().unwrap_err();
            assert!(why.contains("1% to 100%"), "{why}");
        }
        for text in ["1", "10000", "1%", "100%", "all"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
    }

    fn size() -> impl Strategy<Value = Size> {
        let hosts = (1..200usize).prop_map(|hosts| Size::Hosts(NonZeroUsize::new(hosts).unwrap()));
        prop_oneof![hosts, (1..=100u8).prop_map(Size::Percent), Just(Size::All)]
    }

    proptest! {
        #[test]
        fn every_host_is_in_one_wave_and_the_order_is_kept(
            hosts in 0..2000usize,
            canary in proptest::option::of(size()),
            then in proptest::collection::vec(size(), 0..5),
        ) {
            let waves = waves(hosts, canary, &then);
            let asked: Vec<usize> = waves.iter().cloned().flatten().collect();
            prop_assert_eq!(asked, (0..hosts).collect::<Vec<_>>());
            prop_assert!(waves.iter().all(|wave| !wave.is_empty()));
            if let (Some(Size::Percent(percent)), Some(first)) = (canary, waves.first()) {
                let exact = hosts as f64 * f64::from(percent) / 100.0;
                prop_assert!(first.len() as f64 >= exact && (first.len() as f64) < exact + 1.0);
            }
        }
    }
}
