//! Models of the places for calls that may block.

use std::sync::Arc;

use nixfleet_os::model::check;
use nixfleet_os::sync::{block_on, thread};

use super::*;

/// More calls at once than there are places: as many run as there are places, each caller gets its answer or is
/// refused, and in the end all places are free again.
fn as_many_calls_as_places() {
    // For each interleaving: the places outlive their threads.
    let running: &'static AtomicUsize = Box::leak(Box::new(AtomicUsize::new(0)));
    let now = Arc::new(AtomicUsize::new(0));
    let caller = |number| {
        let now = Arc::clone(&now);
        let call = move || {
            assert!(now.fetch_add(1, Ordering::SeqCst) < THREADS, "more calls than places");
            thread::yield_now();
            now.fetch_sub(1, Ordering::SeqCst);
            number
        };
        move || match block_on(run_counted(running, "call", call)) {
            Ok(answer) => assert_eq!(answer, number, "the answer of another call"),
            Err(err) => assert!(!err.to_string().contains("panicked"), "{err}"),
        }
    };
    let callers: Vec<_> = (0..=THREADS).map(|number| thread::spawn(caller(number))).collect();
    callers.into_iter().for_each(|caller| caller.join().expect("no caller panics"));
    assert_eq!(running.load(Ordering::SeqCst), 0, "a place is still taken");
}

/// Whoever has an answer finds the place of that call free.
fn an_answer_means_a_free_place() {
    let running: &'static AtomicUsize = Box::leak(Box::new(AtomicUsize::new(THREADS - 1)));
    for number in 0..2 {
        let answer = block_on(run_counted(running, "call", move || number));
        assert_eq!(answer.expect("the place is free"), number);
    }
    assert_eq!(running.load(Ordering::SeqCst), THREADS - 1, "the place of the answer is taken");
}

#[test]
fn places() {
    let count = ("count-and-then-take", "the places are counted and taken in two steps");
    check("calls that may block", &[count], as_many_calls_as_places);
}

#[test]
fn answers() {
    let late = ("place-behind-the-answer", "the place is free after the answer is sent");
    check("calls that may block, answers", &[late], an_answer_means_a_free_place);
}
