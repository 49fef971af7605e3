use proptest::prelude::*;

use super::*;
use crate::gpu::{MAX_WATTS, Reading, Status};

fn question(number: u64) -> Question {
    let addresses = vec!["0000:01:00.0".to_owned(), "0000:02:00.0".to_owned()];
    Question { number, selection: Selection::Only { addresses, let_others_sleep: false } }
}

fn found(address: &str, reading: Result<Reading, Failure>) -> Found {
    Found { address: address.to_owned(), reading }
}

#[test]
fn a_question_arrives_as_it_was_asked() {
    let all = Question { number: u64::MAX, selection: Selection::All };
    let others = Selection::Only { addresses: vec!["0000:01:00.0".to_owned()], let_others_sleep: true };
    for question in [question(7), all, Question { number: 0, selection: others }] {
        assert_eq!(Question::parse(format!("{}\n", question.line()).as_bytes()), Some(question));
    }
    for line in ["", "\n", "7", "7\tnone", "x\tall", "7\tonly"] {
        assert_eq!(Question::parse(line.as_bytes()), None, "{line:?}");
    }
}

#[test]
fn an_answer_arrives_as_it_was_given() {
    let reading = Reading {
        name: Some("NVIDIA H100".to_owned()),
        usage: Some(0.1 + 0.2),
        temperature_celsius: Some(41.0),
        vram_used_bytes: Some(u64::MAX - 1),
        vram_total_bytes: Some(u64::MAX),
        power_watts: Some(123.456),
    };
    let lost = Failure { status: Status::Lost, detail: "a \"quoted\" word".to_owned() };
    for answer in [
        Ok(vec![found("0000:01:00.0", Ok(reading)), found("0000:02:00.0", Err(lost.clone()))]),
        Ok(vec![found("0000:02:00.0", Ok(Reading::default()))]),
        Ok(Vec::new()),
        Err(lost),
    ] {
        let line = question(7).answered(&answer);
        assert_eq!(line.find('\n'), Some(line.len() - 1), "one line");
        assert_eq!(question(8).answer(line.as_bytes()), None, "of another question");
        assert_eq!(question(7).answer(line.as_bytes()), Some(answer));
    }
}

#[test]
fn a_number_that_is_none_is_unknown() {
    let reading = Reading { usage: Some(f64::NAN), power_watts: Some(f64::INFINITY), ..Reading::default() };
    let line = question(1).answered(&Ok(vec![found("0000:01:00.0", Ok(reading))]));
    let unknown = found("0000:01:00.0", Ok(Reading::default()));
    assert_eq!(question(1).answer(line.as_bytes()), Some(Ok(vec![unknown])));
}

#[test]
fn a_long_error_is_cut_and_neither_makes_fields_nor_controls_a_terminal() {
    let detail = "\u{1b}[31mlong\t\n".repeat(1_000);
    let failure = Failure { status: Status::NoLibrary, detail: detail.clone() };
    let line = question(1).answered(&Err(failure));
    let Some(Err(failure)) = question(1).answer(line.as_bytes()) else { panic!("no failure") };
    assert_eq!(failure.status, Status::NoLibrary);
    let said = format!("1\tfailed\tlost\t{}", detail.replace(['\t', '\n'], "\r"));
    let Some(Err(other)) = question(1).answer(said.as_bytes()) else { panic!("no failure") };
    for detail in [failure.detail, other.detail] {
        assert!(detail.starts_with("long long") && detail.chars().count() <= MAX_DETAIL, "{detail}");
        assert!(!detail.contains(char::is_control));
    }
}

#[test]
fn all_gpus_means_any_address_and_nothing_else() {
    let question = Question { number: 1, selection: Selection::All };
    for (address, is_one) in [("0000:09:00.0", true), ("", false), ("nonsense", false)] {
        let line = question.answered(&Ok(vec![found(address, Ok(Reading::default()))]));
        assert_eq!(question.answer(line.as_bytes()).is_some(), is_one, "{address}");
    }
}

proptest! {
    /// A right line with some other bytes in it: most are no answers, and none says what cannot be.
    #[test]
    fn whatever_a_line_says_no_gpu_has_what_none_can_have(
        changes in prop::collection::vec((0_usize..120, any::<u8>()), 0..4), number in any::<f64>(),
    ) {
        let text = format!(
            "1\tread\t0000:01:00.0\tok\tA\t{number:e}\t41.0\t1\t2\t70\t0000:02:00.0\tlost\tx\t\
             0000:02:00.0\tok\tB\t0.5\t{number}\t\t\t"
        );
        let mut line = text.into_bytes();
        for (at, byte) in changes {
            if let Some(place) = line.get_mut(at) {
                *place = byte;
            }
        }
        for found in question(1).answer(&line).and_then(Result::ok).unwrap_or_default() {
            prop_assert!(["0000:01:00.0", "0000:02:00.0"].contains(&found.address.as_str()));
            match found.reading {
                Ok(reading) => {
                    prop_assert!(reading.usage.is_none_or(|usage| (0.0..=1.0).contains(&usage)));
                    prop_assert!(reading.power_watts.is_none_or(|watts| (0.0..=MAX_WATTS).contains(&watts)));
                    let name = reading.name.unwrap_or_default();
                    prop_assert!(name.chars().count() <= MAX_NAME && !name.contains(char::is_control));
                }
                Err(failure) => prop_assert!(failure.status != Status::Ok && failure.detail.len() < 2_000),
            }
        }
    }
}
