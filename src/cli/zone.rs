//! Times as people on this host read them.

use std::env;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use nixfleet_os::bounded_read;

/// The time zone of the host.
const LOCAL: &str = "/etc/localtime";

/// Folders with time zones by name, unless `TZDIR` names another one: of NixOS, and of others.
const ZONES: [&str; 2] = ["/etc/zoneinfo", "/usr/share/zoneinfo"];

/// Longest file of a time zone, in bytes. The longest there is has 4 KB.
const MAX_ZONE: u64 = 64 * 1024;

/// In which time zone times are shown.
#[derive(Debug, Clone)]
pub(super) struct Zone(TimeZone);

impl Zone {
    /// UTC, or else that of the host, which `TZ` can replace.
    pub(super) fn new(utc: bool) -> Self {
        if utc { Self(TimeZone::UTC) } else { Self(local(env::var("TZ").ok().as_deref())) }
    }

    /// Such as `2026-01-01 13:00:00`. In UTC it says so.
    pub(super) fn time(&self, at: Timestamp) -> String {
        let utc = if self.is_utc(at) { " UTC" } else { "" };
        let at = self.0.to_datetime(at);
        format!("{} {:.0}{utc}", at.date(), at.time())
    }

    /// The same of an RFC 3339 time. Another text is returned as it is.
    pub(super) fn time_of(&self, text: &str) -> String {
        text.parse().map_or_else(|_| text.to_owned(), |at| self.time(at))
    }

    /// Whether the time is of UTC by its own name, whatever the zone is called: that of most servers is a file. With
    /// `TZ=UTC-3` the name alone says too little.
    fn is_utc(&self, at: Timestamp) -> bool {
        let info = self.0.to_offset_info(at);
        info.abbreviation() == "UTC" && info.offset().is_zero()
    }

    /// With milliseconds and of the same length for all lines, such as `2026-01-01 13:00:00.250`; in UTC with a `Z`.
    pub(super) fn stamp(&self, at: Timestamp) -> String {
        let utc = if self.is_utc(at) { "Z" } else { "" };
        let at = self.0.to_datetime(at);
        format!("{} {:.3}{utc}", at.date(), at.time())
    }
}

/// The zone that `TZ` names as tzset(3) reads it, or else that of the host; UTC if it cannot be read.
fn local(given: Option<&str>) -> TimeZone {
    let Some(given) = given.map(|given| given.strip_prefix(':').unwrap_or(given)) else {
        return read(Path::new(LOCAL)).unwrap_or(TimeZone::UTC);
    };
    if given.starts_with('/') {
        return read(Path::new(given)).unwrap_or(TimeZone::UTC);
    }
    let is_name = !given.is_empty() && !given.contains("..");
    let folder = env::var_os("TZDIR").map(PathBuf::from);
    let folders = folder.into_iter().chain(ZONES.map(PathBuf::from));
    let named = folders.filter(|_| is_name).find_map(|folder| read(&folder.join(given)));
    named.or_else(|| TimeZone::posix(given).ok()).unwrap_or(TimeZone::UTC)
}

fn read(path: &Path) -> Option<TimeZone> {
    TimeZone::tzif("", &bounded_read::read(path, MAX_ZONE).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_zone() {
        let at = "2026-07-01T12:00:00.2504Z".parse().unwrap();
        for (given, wanted) in [
            ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-07-01 14:00:00"),
            (":EST5EDT,M3.2.0,M11.1.0", "2026-07-01 08:00:00"),
            ("", "2026-07-01 12:00:00 UTC"),
            ("../../etc/passwd", "2026-07-01 12:00:00 UTC"),
            ("/no/such/zone", "2026-07-01 12:00:00 UTC"),
            ("No/Such_Zone", "2026-07-01 12:00:00 UTC"),
            ("UTC0", "2026-07-01 12:00:00 UTC"),
            ("WET0WEST,M3.5.0/1,M10.5.0", "2026-07-01 13:00:00"),
            ("UTC-3", "2026-07-01 15:00:00"),
        ] {
            assert_eq!(Zone(local(Some(given))).time(at), wanted, "{given}");
        }
        let utc = Zone::new(true);
        assert_eq!(
            (utc.time(at), utc.stamp(at)),
            ("2026-07-01 12:00:00 UTC".into(), "2026-07-01 12:00:00.250Z".into())
        );
        let tokyo = Zone(local(Some("JST-9")));
        assert_eq!(tokyo.stamp(at), "2026-07-01 21:00:00.250");
        assert_eq!(
            (tokyo.time_of("2026-07-01T12:00:00Z").as_str(), tokyo.time_of("?").as_str()),
            ("2026-07-01 21:00:00", "?")
        );
    }

    #[test]
    fn a_file_of_utc_is_utc() {
        // RFC 9636: a header of version 1, which says that there is one type of local time and a name of four bytes,
        // and these two.
        let header = [&b"TZif"[..], &[0; 32], &[0, 0, 0, 1, 0, 0, 0, 4]].concat();
        let file = tempfile::NamedTempFile::new().unwrap();
        for (offset, name, wanted) in [
            ([0, 0, 0, 0], b"UTC\0", "2026-07-01 12:00:00 UTC"),
            ([0, 0, 14, 16], b"CET\0", "2026-07-01 13:00:00"),
        ] {
            let content = [&header[..], &offset, &[0, 0], name].concat();
            std::fs::write(file.path(), content).unwrap();
            let at = "2026-07-01T12:00:00Z".parse().unwrap();
            assert_eq!(Zone(local(file.path().to_str())).time(at), wanted);
        }
    }

    #[test]
    fn a_zone_is_found_by_its_name() {
        if ZONES.iter().all(|folder| !Path::new(folder).join("Asia/Tokyo").exists()) {
            eprintln!("skipped: no time zones are installed here");
            return;
        }
        let at = "2026-07-01T12:00:00Z".parse().unwrap();
        assert_eq!(Zone(local(Some("Asia/Tokyo"))).time(at), "2026-07-01 21:00:00");
    }
}
