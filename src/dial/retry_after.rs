//! `Retry-After` of HTTP (RFC 9110, 10.2.3): how long a busy dashboard wants to be left alone.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use tokio_tungstenite::tungstenite::http::{HeaderMap, header};

/// The longest delay that is respected: a mistake on the dashboard's side must not keep a host offline for days.
const LONGEST: Duration = Duration::from_secs(600);

/// The delay in seconds, or up to a date. A date is compared with the `Date` of the same answer if there is one,
/// because the clock of this host may be wrong; `now` is that clock.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number holds are a long time.
        return Some(text.parse().map_or(LONGEST, Duration::from_secs).min(LONGEST));
    }
    let until = http_date(text)?;
    let now = date(headers).unwrap_or(now);
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default().min(LONGEST))
}

/// What time it was for the server when it answered, by its `Date`.
pub(crate) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(headers.get(header::DATE)?.to_str().ok()?)
}

/// Reads the three forms of a date that RFC 9110, 5.6.7 asks a recipient to accept.
fn http_date(text: &str) -> Option<Timestamp> {
    let parts: Vec<&str> = text.split([' ', ',', '-', ':']).filter(|part| !part.is_empty()).take(9).collect();
    let (day, month, year, time) = match parts[..] {
        // `Sun, 06 Nov 1994 08:49:37 GMT` and `Sunday, 06-Nov-94 08:49:37 GMT`
        [_, day, month, year, hour, minute, second, "GMT"] => (day, month, year, [hour, minute, second]),
        // `Sun Nov  6 08:49:37 1994`
        [_, month, day, hour, minute, second, year] => (day, month, year, [hour, minute, second]),
        _ => return None,
    };
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = i8::try_from(MONTHS.iter().position(|name| *name == month)? + 1).ok()?;
    let century = match (year.len(), year.parse::<i16>().ok()?) {
        (2, 70..) => 1900,
        (2, _) => 2000,
        _ => 0,
    };
    let year = century + year.parse::<i16>().ok()?;
    let [hour, minute, second] = time.map(|part| part.parse::<i8>().ok());
    // A leap second has no place in a time stamp.
    let second = second?.min(59);
    let at = DateTime::new(year, month, day.parse().ok()?, hour?, minute?, second, 0).ok()?;
    Offset::UTC.to_timestamp(at).ok()
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::http::HeaderValue;

    use super::*;

    #[test]
    fn seconds_and_dates_are_respected_within_bounds() {
        let own: Timestamp = "2000-01-01T00:00:00Z".parse().unwrap();
        let date = Some("Sun, 06 Nov 1994 08:49:30 GMT");
        for (text, date, seconds) in [
            ("7", None, Some(7)),
            ("0", date, Some(0)),
            ("999999", None, Some(600)),
            ("99999999999999999999999999", None, Some(600)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", date, Some(7)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", date, Some(7)),
            ("Sun Nov  6 08:49:37 1994", date, Some(7)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some("nonsense"), Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", None, Some(0)),
            ("Sat, 01 Jan 2000 00:01:00 GMT", None, Some(60)),
            ("Saturday, 01-Jan-00 00:00:60 GMT", None, Some(59)),
            ("Wed, 31 Dec 9000 23:59:59 GMT", date, Some(600)),
            ("Fri, 31 Dec 99999 23:59:59 GMT", date, None),
            ("Fri, 31 Feb 1994 23:59:59 GMT", date, None),
            ("Sun, 06 Nov 1994 08:49:37 CET", date, None),
            ("-7", None, None),
            ("1.5", None, None),
            ("", None, None),
            ("a b c d e f g h i j k", None, None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(text));
            if let Some(date) = date {
                headers.insert(header::DATE, HeaderValue::from_static(date));
            }
            assert_eq!(retry_after(&headers, own), seconds.map(Duration::from_secs), "{text} at {date:?}");
        }
    }
}
