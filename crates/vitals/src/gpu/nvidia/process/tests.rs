use super::*;

#[test]
fn delays_double_up_to_a_limit_and_begin_anew_after_a_good_time() {
    let mut delays = Delays { first: FIRST_DELAY, last: None };
    let mut now = Instant::now();
    let mut waited = Vec::new();
    for _ in 0..10 {
        let delay = delays.next(now);
        waited.push(delay.as_secs());
        // The next reader fails at once.
        now += delay;
    }
    assert_eq!(waited, [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]);
    assert_eq!(delays.next(now + FORGOTTEN), FIRST_DELAY);
}
