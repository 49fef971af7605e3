//! Versions of nixpkgs and of the operating system.

use std::path::Path;

use nixfleet_os::bounded_read;

/// Longest file read, in bytes. os-release has a few hundred.
const MAX_FILE: u64 = 16 * 1024;

/// Longest version that is accepted, in bytes.
const MAX_VALUE: usize = 256;

/// Version of the running system, such as `24.11.20241201.abc1234`, from the file that NixOS puts into each
/// system.
pub fn nixpkgs_version(current_system: &Path) -> Option<String> {
    value(text(&current_system.join("nixos-version"))?.lines().next()?)
}

/// `VERSION_ID` of os-release(5), or `ProductVersion` of macOS' property list.
pub fn os_version(file: &Path) -> Option<String> {
    let text = text(file)?;
    if text.trim_start().starts_with("<?xml") {
        return product_version(&text);
    }
    // The last assignment counts, as in a shell.
    let given = text.lines().rev().find_map(|line| line.trim().strip_prefix("VERSION_ID="))?;
    let quoted = |quote: char| given.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    value(quoted('"').or_else(|| quoted('\'')).unwrap_or(given))
}

/// The text after the key `ProductVersion`. The file is a flat dictionary of texts without comments.
fn product_version(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("<key>ProductVersion</key>")?;
    let (version, _) = rest.trim_start().strip_prefix("<string>")?.split_once("</string>")?;
    value(version)
}

fn text(path: &Path) -> Option<String> {
    String::from_utf8(bounded_read::read(path, MAX_FILE).ok()?).ok()
}

/// The text, if it is one short line that is not empty.
fn value(text: &str) -> Option<String> {
    let text = text.trim();
    let fits = !text.is_empty() && text.len() <= MAX_VALUE && !text.contains(char::is_control);
    fits.then(|| text.to_owned())
}
