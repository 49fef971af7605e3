//! A model of the look at the programs, of which one may hang.

use nixfleet_os::model::check;
use nixfleet_os::sync::block_on;

use super::*;

/// Two questions at once: one look at a time, and each is answered or refused. Whoever has an answer may ask again.
fn one_look_at_a_time() {
    let busy: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    let looks: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    let look = || {
        assert!(!looks.swap(true, Ordering::SeqCst), "two looks at once");
        thread::yield_now();
        looks.store(false, Ordering::SeqCst);
        7
    };
    let other = thread::spawn(move || block_on(exclusively(busy, look)));
    let own = block_on(exclusively(busy, look));
    let other = other.join().expect("no caller panics");
    assert!(own == Ok(7) || other == Ok(7), "one of two is answered: {own:?}, {other:?}");
    assert_eq!(block_on(exclusively(busy, look)), Ok(7), "the last look is over");
    assert_eq!(block_on(exclusively(busy, look)), Ok(7), "an answer means that the next one may ask");
}

#[test]
fn looks() {
    let claim = ("look-and-then-claim", "the flag is read and set in two steps");
    let late = ("free-behind-the-answer", "the flag is cleared after the answer is sent");
    check("look at the programs", &[claim, late], one_look_at_a_time);
}
