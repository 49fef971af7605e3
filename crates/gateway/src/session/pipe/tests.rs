use std::sync::Mutex;

use nixfleet_fleet::said;
use nixfleet_protocol::AgentMessage;

use super::*;

/// What NATS says to each attempt, and what was tried.
#[derive(Default)]
struct Store {
    answers: Mutex<VecDeque<Result<(), StoreError>>>,
    tried: Mutex<Vec<String>>,
    /// Attempts are not answered while this is true.
    away: Mutex<bool>,
}

fn later() -> Result<(), StoreError> {
    Err(StoreError::Later("away".to_owned()))
}

/// A pipe to a store that stores everything, unless it has other answers.
fn pipe(answers: impl IntoIterator<Item = Result<(), StoreError>>) -> (Pipe, Arc<Store>) {
    let store = Arc::new(Store { answers: Mutex::new(answers.into_iter().collect()), ..Store::default() });
    let publish: Publish = Arc::new({
        let store = Arc::clone(&store);
        move |subject, _, payload| {
            store.tried.lock().unwrap().push(format!("{subject}={}", String::from_utf8_lossy(&payload)));
            if *store.away.lock().unwrap() {
                return Box::pin(std::future::pending());
            }
            let answer = store.answers.lock().unwrap().pop_front().unwrap_or(Ok(()));
            Box::pin(async move { answer })
        }
    });
    (Pipe::new(publish, Room::new(Arc::default()), Arc::default()), store)
}

fn item(subjects: &[&str], payload: &str) -> Item {
    let subjects = subjects.iter().map(|&subject| subject.to_owned()).collect();
    Item { subjects, headers: HeaderMap::new(), payload: Bytes::from(payload.to_owned()) }
}

fn pong(payload: &'static str) -> Answer {
    Answer::Pong(Bytes::from_static(payload.as_bytes()))
}

async fn poll(pipe: &mut Pipe) {
    poll_fn(|cx| {
        pipe.poll(cx);
        Poll::Ready(())
    })
    .await;
}

fn tried(store: &Store) -> Vec<String> {
    std::mem::take(&mut *store.tried.lock().unwrap())
}

#[tokio::test(start_paused = true)]
async fn answers_come_in_their_order_and_only_when_all_before_them_is_stored() {
    let (mut pipe, store) = pipe([]);
    pipe.answer(pong("0"));
    assert_eq!(pipe.answerable(), Some(pong("0")), "nothing was said before it");
    *store.away.lock().unwrap() = true;
    assert!(pipe.push(item(&["a"], "1")));
    pipe.answer(pong("1"));
    pipe.answer(Answer::Ack(7));
    assert!(pipe.push(item(&["a"], "2")));
    pipe.answer(pong("2"));
    poll(&mut pipe).await;
    assert_eq!(tried(&store), ["a=1"], "one at a time");
    assert_eq!(pipe.answerable(), None);
    // The attempt that hangs is given up, and made again.
    *store.away.lock().unwrap() = false;
    pipe.under_way = None;
    poll(&mut pipe).await;
    assert_eq!(tried(&store), ["a=1", "a=2"]);
    let answers: Vec<_> = std::iter::from_fn(|| pipe.answerable()).collect();
    assert_eq!(answers, [pong("1"), Answer::Ack(7), pong("2")]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_tried_again_with_growing_pauses_and_order_stays() {
    let (mut pipe, store) = pipe([later(), later(), later()]);
    assert!(pipe.push(item(&["a", "b"], "1")));
    assert!(pipe.push(item(&["a"], "2")));
    pipe.answer(Answer::Ack(1));
    let mut pauses = Vec::new();
    poll(&mut pipe).await;
    while let Some(at) = pipe.deadline() {
        let before = Instant::now();
        poll(&mut pipe).await;
        assert_eq!(pipe.deadline(), Some(at), "nothing is tried before the pause is over");
        sleep_until(at).await;
        pauses.push(before.elapsed().as_millis());
        poll(&mut pipe).await;
    }
    assert_eq!(pauses, [100, 200, 400]);
    assert_eq!(tried(&store), ["a=1", "a=1", "a=1", "a=1", "b=1", "a=2"]);
    assert_eq!(pipe.answerable(), Some(Answer::Ack(1)));
    assert_eq!(pipe.figures.store_failures.get(), 3);
    assert_eq!(pipe.figures.stored.get(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_longest_pause_has_a_bound() {
    let (mut pipe, _) = pipe((0..50).map(|_| later()));
    assert!(pipe.push(item(&["a"], "1")));
    poll(&mut pipe).await;
    for _ in 0..40 {
        let at = pipe.deadline().expect("it failed");
        assert!(at - Instant::now() <= PAUSE.1);
        sleep_until(at).await;
        poll(&mut pipe).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_can_never_be_stored_does_not_hold_up_the_rest() {
    let (mut pipe, store) = pipe([Err(StoreError::Never("too long".to_owned()))]);
    assert!(pipe.push(item(&["a"], "1")));
    assert!(pipe.push(item(&["a"], "2")));
    pipe.answer(Answer::Ack(1));
    poll(&mut pipe).await;
    assert_eq!(tried(&store), ["a=1", "a=2"]);
    assert_eq!((pipe.figures.unstorable.get(), pipe.figures.stored.get()), (1, 1));
    assert_eq!(pipe.answerable(), Some(Answer::Ack(1)));
}

#[tokio::test(start_paused = true)]
async fn a_host_has_so_much_room_and_gets_it_back() {
    let (mut pipe, store) = pipe([]);
    *store.away.lock().unwrap() = true;
    let large = "x".repeat(300 * 1024);
    let pushed = (0..5).filter(|_| pipe.push(item(&["a"], &large))).count();
    assert_eq!(pushed, 3);
    *store.away.lock().unwrap() = false;
    poll(&mut pipe).await;
    assert!(pipe.push(item(&["a"], &large)));
}

#[tokio::test(start_paused = true)]
async fn newer_answers_take_the_place_of_the_oldest() {
    let (mut pipe, store) = pipe([]);
    *store.away.lock().unwrap() = true;
    assert!(pipe.push(item(&["a"], "1")));
    for seq in 0..100 {
        pipe.answer(Answer::Ack(seq));
    }
    *store.away.lock().unwrap() = false;
    poll(&mut pipe).await;
    let answers: Vec<_> = std::iter::from_fn(|| pipe.answerable()).collect();
    assert_eq!((answers.len(), answers.last()), (MAX_ANSWERS, Some(&Answer::Ack(99))));
}

#[tokio::test(start_paused = true)]
async fn the_last_words_of_a_connection_are_stored_after_its_end() {
    let (mut pipe, store) = pipe([later(), later()]);
    assert!(pipe.push(item(&["a"], "1")));
    assert!(pipe.push(item(&["b"], "2")));
    pipe.finish(Duration::from_secs(30)).await;
    assert_eq!(tried(&store), ["a=1", "a=1", "a=1", "b=2"]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_away_does_not_hold_an_ended_connection_for_ever() {
    let (mut pipe, store) = pipe([]);
    *store.away.lock().unwrap() = true;
    assert!(pipe.push(item(&["a"], "1")));
    let begun = Instant::now();
    pipe.finish(Duration::from_secs(30)).await;
    assert_eq!(begun.elapsed(), Duration::from_secs(30));
}

#[test]
fn the_end_of_a_command_goes_to_both_streams() {
    let text = r#"{"type":"status","payload":{"status":"ok","command":"pull","exit_code":0,"job_id":"j"}}"#;
    let message = AgentMessage::decode(text).expect("a status");
    let said = said("web", 1, 0, &message).expect("it is stored");
    assert_eq!(said.subjects, ["fleet.up.web.status", "fleet.status.web"]);
}
