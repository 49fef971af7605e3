//! `Retry-After` of a dashboard that is busy.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use nixfleet_agent::dial::fuzzing;

/// The longest delay that is respected.
const LONGEST: Duration = Duration::from_secs(600);

/// Years of which a date of two digits says the century.
const SHORT_YEARS: std::ops::RangeInclusive<i16> = 1970..=2069;

/// Seconds from 1970 up to the year 9999, which is the last one that a date can hold.
const MAX_SECONDS: u64 = 253_402_000_000;

/// Values of `Retry-After` and `Date`, separated by 0xff; the clock of the host, as eight bytes in front. A delay is at
/// most ten minutes; digits are seconds; a date in any of the three forms of HTTP is exact.
pub fn retry_after(data: &[u8]) {
    let Some((clock, headers)) = data.split_at_checked(8) else { return };
    let seconds = clock.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)) % MAX_SECONDS;
    let now = at(seconds);
    let mut values = headers.split(|byte| *byte == 0xff);
    let (value, date) = (values.next().unwrap_or_default(), values.next());
    let delay = fuzzing::retry_after(value, date, now);
    assert!(delay.is_none_or(|delay| delay <= LONGEST), "{delay:?}");
    let is_text = |bytes: &[u8]| bytes.iter().all(|byte| matches!(byte, b' '..=b'~'));
    if !is_text(value) || date.is_some_and(|date| !is_text(date)) {
        return;
    }
    let text = value.trim_ascii();
    if !text.is_empty() && text.iter().all(u8::is_ascii_digit) {
        let number = text
            .iter()
            .fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add((digit - b'0').into()));
        assert_eq!(delay, Some(LONGEST.min(Duration::from_secs(number))));
    }
    let odd_date = date.filter(|date| date.starts_with(b"?"));
    if let Ok(text) = std::str::from_utf8(value)
        // Mail may leave out the day of the week and the seconds, and has years of two digits.
        && has_shape(text)
        && let Ok(until) = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text)
        && (date.is_none() || odd_date.is_some())
    {
        // A library reads a part of what the agent reads: it wants the right day of the week.
        assert_eq!(delay, Some(between(now, until)), "{text}");
    }
    // What the second header holds decides how far ahead of the clock a written date is.
    let ahead = headers.iter().rev().take(2).fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    written(seconds, ahead % 1000);
}

/// The preferred form of HTTP, with any digits and names. Its letters are case-sensitive (RFC 9110, 5.6.7), those of
/// mail are not.
fn has_shape(text: &str) -> bool {
    const SHAPE: &[u8] = b"Aaa, 00 Aaa 0000 00:00:00 GMT";
    let fits = |(byte, shape): (u8, &u8)| match shape {
        b'0' => byte.is_ascii_digit(),
        b'A' => byte.is_ascii_uppercase(),
        b'a' => byte.is_ascii_lowercase(),
        _ => byte == *shape,
    };
    text.len() == SHAPE.len() && text.bytes().zip(SHAPE).all(fits)
}

/// A date `ahead` of the dashboard's clock, in each form, whatever the clock of the host says.
fn written(seconds: u64, ahead: u64) {
    let (now, until) = (at(seconds), at(seconds + ahead));
    for form in ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"] {
        let zoned = until.to_zoned(TimeZone::UTC);
        if form.contains("%y") && !SHORT_YEARS.contains(&zoned.year()) {
            continue;
        }
        let value = zoned.strftime(form).to_string();
        let date = now.to_zoned(TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let wanted = Some(between(now, until));
        let wrong_clock = at(MAX_SECONDS - seconds);
        assert_eq!(
            fuzzing::retry_after(value.as_bytes(), Some(date.as_bytes()), wrong_clock),
            wanted,
            "{value}"
        );
        assert_eq!(fuzzing::retry_after(value.as_bytes(), None, now), wanted, "{value}");
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_second(i64::try_from(seconds).unwrap_or_default())
        .expect("a second within ten thousand years")
}

/// Dates have whole seconds, so this is exact.
fn between(now: Timestamp, until: Timestamp) -> Duration {
    let ahead = u64::try_from(until.as_second() - now.as_second()).unwrap_or(0);
    LONGEST.min(Duration::from_secs(ahead))
}
