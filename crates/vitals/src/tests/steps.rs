//! Counters that step back, jump or begin anew: no peak, nothing below zero.

use super::*;

const LATER: Duration = Duration::from_secs(10);

/// The rates of an interface with these counters, one reading every ten seconds.
fn rates(counters: &[u64]) -> Vec<Option<f64>> {
    let mut meter = rate::Meter::default();
    let begin = Moment::now();
    let at = |(index, bytes): (usize, &u64)| {
        let now = begin.after(LATER * u32::try_from(index).unwrap(), Duration::ZERO);
        let rates = meter.rates([("eth0".to_owned(), [*bytes, 0])].into(), now);
        rates.map(|[received, _]| received)
    };
    counters.iter().enumerate().map(at).collect()
}

#[test]
fn a_counter_of_an_interface_that_steps_back_makes_no_peak() {
    let begun_anew = rates(&[9_000_000, 9_001_000, 50, 150, 250]);
    assert_eq!(begun_anew, [None, Some(100.0), None, Some(10.0), Some(10.0)]);
    // All that it ever counted is not of the ten seconds after its return.
    let returned = rates(&[9_000_000, 9_001_000, 0, 9_002_000, 9_003_000]);
    assert_eq!(returned, [None, Some(100.0), None, None, Some(100.0)]);
    let wrapped = rates(&[u64::from(u32::MAX) - 10, 90, 190]);
    assert_eq!(wrapped, [None, None, Some(10.0)]);
    let below_zero = rates(&[1000, u64::MAX, 2000, 3000]);
    assert_eq!(below_zero, [None, None, None, Some(100.0)]);
}

#[test]
fn an_interface_that_was_unplugged_is_counted_from_its_return() {
    let mut meter = rate::Meter::default();
    let begin = Moment::now();
    let mut at = |index: u32, all: &[(&str, u64)]| {
        let counters = all.iter().map(|(name, bytes)| ((*name).to_owned(), [*bytes, 0])).collect();
        meter.rates(counters, begin.after(LATER * index, Duration::ZERO)).map(|[received, _]| received)
    };
    assert_eq!(at(0, &[("a", 0), ("usb", 1 << 35)]), None);
    assert_eq!(at(1, &[("a", 100)]), Some(10.0));
    assert_eq!(at(2, &[("a", 200), ("usb", 1 << 36)]), Some(10.0));
    assert_eq!(at(3, &[("a", 300), ("usb", (1 << 36) + 100)]), Some(20.0));
}

/// The busy share for these counters of user, idle, waiting and stolen time, one reading every ten seconds.
fn busy(readings: &[[u64; 4]]) -> Vec<Option<f64>> {
    let fake = Fake::empty();
    let mut meter = cpu::CpuMeter::new(&fake.proc());
    let begin = Moment::now();
    let at = |(index, [user, idle, iowait, steal]): (usize, &[u64; 4])| {
        fake.write("proc/stat", format!("cpu  {user} 0 0 {idle} {iowait} 0 0 {steal} 0 0\n"));
        let now = begin.after(LATER * u32::try_from(index).unwrap(), Duration::ZERO);
        meter.sample(now, &Faults::default()).unwrap().map(|cpu| cpu.busy)
    };
    readings.iter().enumerate().map(at).collect()
}

#[test]
fn counters_of_processors_that_step_back_make_no_peak() {
    let known = Some(0.25);
    for (what, readings, wanted) in [
        (
            "waiting and stolen time a little",
            [[1000, 9000, 50, 50], [1025, 9075, 49, 49], [1050, 9150, 48, 48], [1075, 9225, 47, 47]],
            [None, known, known, known],
        ),
        (
            "idle time much, as when a processor is switched off and on",
            [[1000, 9000, 0, 0], [1025, 9075, 0, 0], [1050, 150, 0, 0], [1075, 225, 0, 0]],
            [None, known, None, known],
        ),
        (
            "all, and back to where they were",
            [[1000, 9000, 0, 0], [1, 1, 0, 0], [90_000, 9075, 0, 0], [90_025, 9150, 0, 0]],
            [None, None, None, known],
        ),
        (
            "all, because they began anew",
            [[1000, 9000, 0, 0], [1, 1, 0, 0], [26, 76, 0, 0], [51, 151, 0, 0]],
            [None, None, known, known],
        ),
        (
            "stolen time below zero, as after a move to another host",
            [
                [1000, 9000, 0, 5],
                [1025, 9075, 0, 5],
                [1050, 9150, 0, u64::MAX / 10],
                [1075, 9225, 0, u64::MAX / 10],
            ],
            [None, known, None, known],
        ),
    ] {
        assert_eq!(busy(&readings), wanted, "{what}");
    }
}
