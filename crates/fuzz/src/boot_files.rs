//! Files of boot loaders, by which an agent says what the next boot runs.

use std::path::Path;

use nixfleet_jobs::boot_entry::fuzzing::{grub, systemd_boot};

/// Parts, separated by 0xff: loader.conf or grub.cfg, a variable of the firmware or grubenv, and the texts of entries, each
/// with its name in the first line. What boots is the folder of an `init=` that is in them, and of no other path; with
/// systemd-boot it does not depend on the order in which the entries are found.
pub fn boot_files(data: &[u8]) {
    let mut parts = data.split(|byte| *byte == 0xff).map(String::from_utf8_lossy);
    let mut part = || parts.next().unwrap_or_default();
    let (main, other) = (part(), part());
    if let Ok(system) = grub(&main, &other) {
        is_of(&system, &main);
    }
    let named = parts.map(|text| match text.split_once('\n') {
        Some((name, text)) => (name.to_owned(), text.to_owned()),
        None => (text.into_owned(), String::new()),
    });
    let mut entries: Vec<(String, String)> = named.take(8).collect();
    let default = Some(&*other).filter(|other| !other.is_empty());
    let answer = systemd_boot(&main, default, &entries).ok();
    if let Some(system) = &answer {
        let texts: Vec<&str> = entries.iter().map(|(_, text)| text.as_str()).collect();
        is_of(system, &texts.join("\n"));
    }
    entries.reverse();
    assert_eq!(systemd_boot(&main, default, &entries).ok(), answer, "in another order");
}

/// It is named as the system of a kernel in that text.
fn is_of(system: &Path, text: &str) {
    assert!(system.is_absolute() && system.parent().is_some(), "{}", system.display());
    let words = text.split_whitespace().filter_map(|word| word.strip_prefix("init="));
    let mut inits = words.map(|init| Path::new(init.trim_matches('"')));
    assert!(inits.any(|init| init.parent() == Some(system)), "{} is not in {text:?}", system.display());
}
