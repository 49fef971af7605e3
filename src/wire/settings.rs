//! Settings that are not those of the file, as a part of a heartbeat.

use nixfleet_config::LastGood;
use nixfleet_protocol::LastGoodSettings;

/// What a heartbeat says about them.
pub fn last_good(used: &LastGood) -> LastGoodSettings {
    LastGoodSettings {
        file: used.file.display().to_string(),
        accepted_at: used.accepted_at.clone(),
        problems: used.lines(),
    }
}
