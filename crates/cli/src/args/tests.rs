use clap::CommandFactory;

use super::*;

#[test]
fn the_command_line_makes_sense() {
    Arguments::command().debug_assert();
    for words in [
        "nixfleet hosts web-* --offline --sort since",
        "nixfleet run switch web-1 --follow -s nats://a -s nats://b",
        "nixfleet run switch --all --canary 1 --then 10% --then all --stop-on-failure --pause 30s -y",
        "nixfleet logs web-1 --since 2d -f --json",
        "nixfleet --server nats://a watch",
        "nixfleet stop web-1 --kill",
    ] {
        Arguments::try_parse_from(words.split(' ')).unwrap();
    }
    for words in [
        "nixfleet",
        "nixfleet run",
        "nixfleet run switch web-1 --all",
        "nixfleet run switch web-1 --no-wait --follow",
        "nixfleet run switch web-1 --canary 0",
        "nixfleet hosts --offline --online",
        "nixfleet hosts --credentials a --nkey b",
        "nixfleet run switch web-1 --timeout 5",
    ] {
        assert!(Arguments::try_parse_from(words.split(' ')).is_err(), "{words}");
    }
}

#[test]
fn times_are_written_as_people_do() {
    for (text, seconds) in [("30s", 30), ("10m", 600), ("1h", 3600), ("1h 30m", 5400), ("2d", 172_800)] {
        assert_eq!(time(text), Ok(Duration::from_secs(seconds)), "{text}");
    }
    assert_eq!(time("1d 1h"), Ok(Duration::from_secs(25 * 3600)));
    for text in ["", "5", "-1s", "1 year", "ten", "d", "9999d", "99999999999999999999d", "1d d"] {
        assert!(time(text).is_err(), "{text}");
    }
}
