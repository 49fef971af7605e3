use std::cell::RefCell;
use std::future::pending;

use proptest::prelude::*;
use tokio::time::sleep;

use super::*;

/// What an address does when it is tried.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Connects(Duration),
    Fails(Duration),
    Silent,
}

/// How a race went. Times are from its begin.
#[derive(Debug, Default)]
struct Seen {
    /// When each address was started, in this order.
    starts: Vec<(usize, Duration)>,
    /// When each of them failed.
    failures: Vec<(usize, Duration)>,
    /// How many attempts are not dropped.
    open: usize,
}

/// Counts an attempt as open until it is dropped.
struct Open<'a>(&'a RefCell<Seen>);

impl<'a> Open<'a> {
    fn new(seen: &'a RefCell<Seen>) -> Self {
        seen.borrow_mut().open += 1;
        Self(seen)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.borrow_mut().open -= 1;
    }
}

fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], u16::try_from(number).unwrap()))
}

const MS: Duration = Duration::from_millis(1);

/// Runs a race in virtual time: the winner, or what the addresses said; how long it took; how it went.
fn run(answers: &[Answer], within: Duration) -> (Result<usize, Unanswered>, Duration, Seen) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let seen = RefCell::new(Seen::default());
        let begun = Instant::now();
        let addresses: Vec<SocketAddr> = (0..answers.len()).map(address).collect();
        let connect = |address: SocketAddr| {
            let number = usize::from(address.port());
            seen.borrow_mut().starts.push((number, begun.elapsed()));
            let (open, seen) = (Open::new(&seen), &seen);
            async move {
                let _open = open;
                match answers[number] {
                    Answer::Connects(after) => sleep(after).await,
                    Answer::Silent => pending().await,
                    Answer::Fails(after) => {
                        sleep(after).await;
                        seen.borrow_mut().failures.push((number, begun.elapsed()));
                        return Err(io::ErrorKind::ConnectionRefused.into());
                    }
                }
                Ok(number)
            }
        };
        let result = race(&addresses, within, connect).await;
        let took = begun.elapsed();
        (result, took, seen.into_inner())
    })
}

fn answer() -> impl Strategy<Value = Answer> {
    let after = || (0u32..6000).prop_map(|ms| ms * MS);
    prop_oneof![
        2 => after().prop_map(Answer::Connects),
        3 => after().prop_map(Answer::Fails),
        1 => Just(Answer::Fails(Duration::ZERO)),
        3 => Just(Answer::Silent),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn starts_keep_their_distance_and_the_first_connection_wins(
        answers in prop::collection::vec(answer(), 1..40),
        within in (20u32..15_000).prop_map(|ms| ms * MS),
    ) {
        let (result, took, seen) = run(&answers, within);
        prop_assert_eq!(seen.open, 0, "an attempt that lost is still open");
        // A timer ends in the millisecond behind its time.
        let late = u32::try_from(answers.len() + 1).unwrap() * MS;
        prop_assert!(took <= within + late, "it took {took:?} of {within:?}");

        for (at, &(number, start)) in seen.starts.iter().enumerate() {
            prop_assert_eq!(number, at, "in the order of the addresses");
            let latest = DELAY * u32::try_from(at).unwrap();
            prop_assert!(start <= latest + late, "number {number} was started after {start:?}");
        }
        let delay = DELAY.min(within / 2 / u32::try_from(answers.len()).unwrap());
        for pair in seen.starts.windows(2) {
            let [(before, earlier), (_, later)] = pair else { unreachable!() };
            let failed = seen.failures.iter().find(|(number, at)| number == before && at <= later);
            match failed {
                Some((_, at)) if *at < *earlier + delay => prop_assert_eq!(at, later, "no wait for what has failed"),
                _ => prop_assert!(*later - *earlier >= delay, "{pair:?} without a failure of the first"),
            }
        }

        let connected = |&(number, start): &(usize, Duration)| match answers[number] {
            Answer::Connects(after) => Some(start + after),
            _ => None,
        };
        match result {
            Ok(winner) => {
                let wins = seen.starts.iter().find(|(number, _)| *number == winner).and_then(connected).unwrap();
                let first = seen.starts.iter().filter_map(connected).min().unwrap();
                prop_assert!(wins <= first + MS && took <= wins + MS, "{winner} won after {took:?}");
            }
            Err(unanswered) => {
                prop_assert_eq!(seen.starts.len(), answers.len(), "each address is tried");
                let said = unanswered.entries();
                prop_assert_eq!(said.len(), answers.len(), "each address is named");
                let gave_up = took + MS;
                for (number, (named, err)) in said.iter().enumerate() {
                    prop_assert_eq!(*named, address(number));
                    let failed = seen.failures.iter().any(|(failed, _)| *failed == number);
                    let wanted = if failed { io::ErrorKind::ConnectionRefused } else { io::ErrorKind::TimedOut };
                    prop_assert_eq!(err.kind(), wanted);
                    let had = gave_up - seen.starts[number].1;
                    prop_assert!(failed || had >= CHANCE.min(within / 2), "{number} had {had:?}");
                }
            }
        }
    }
}

#[test]
fn a_dead_address_costs_one_delay_and_one_that_refuses_none() {
    use Answer::{Connects, Fails, Silent};
    let seconds = Duration::from_secs;
    let (silent, live) = (Silent, Connects(10 * MS));
    let (refuses, slow) = (Fails(Duration::ZERO), Connects(3000 * MS));
    for (answers, within, wanted) in [
        (vec![live], seconds(12), Ok((0, 10 * MS))),
        (vec![silent, live], seconds(12), Ok((1, 260 * MS))),
        (vec![silent, silent, silent, silent, live], seconds(12), Ok((4, 1010 * MS))),
        (vec![silent, refuses, live], seconds(12), Ok((2, 260 * MS))),
        (vec![refuses; 31].into_iter().chain([live]).collect(), seconds(12), Ok((31, 10 * MS))),
        // The first one is late, and nobody behind it is better.
        (vec![slow, silent, silent], seconds(12), Ok((0, 3000 * MS))),
        (vec![slow, live], seconds(12), Ok((1, 260 * MS))),
        // All have a chance, and the last one as long as each: 31 delays and 4 s.
        (vec![silent; 32], seconds(12), Err(11_750 * MS)),
        (vec![silent], seconds(12), Err(4000 * MS)),
        (vec![refuses; 5], seconds(12), Err(Duration::ZERO)),
        // After a slow lookup: 31 delays of 32 ms.
        (vec![silent; 31].into_iter().chain([live]).collect(), seconds(2), Ok((31, 1002 * MS))),
        (vec![], seconds(12), Err(Duration::ZERO)),
    ] {
        let (result, took, seen) = run(&answers, within);
        let found = result.map(|winner| (winner, took)).map_err(|_| took);
        let late = Duration::from_millis(if within < seconds(12) { 32 } else { 4 });
        let near = |found: Duration, wanted: Duration| found >= wanted && found <= wanted + late;
        let right = match (&found, &wanted) {
            (Ok((winner, took)), Ok((number, after))) => winner == number && near(*took, *after),
            (Err(took), Err(after)) => near(*took, *after),
            _ => false,
        };
        assert!(right, "{answers:?}: {found:?} instead of {wanted:?}, {:?}", seen.starts);
    }
}
