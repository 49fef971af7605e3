//! The default entry of systemd-boot. Pure: no I/O.
//!
//! An entry is a file `loader/entries/<name>.conf`. With boot counting its name ends with `+LEFT-DONE`: how often it
//! may still be tried, and how often it was. An entry without a try left is bad, and goes to the end of the menu.

use std::cmp::Ordering;
use std::path::PathBuf;

use nixfleet_os::short;

use super::system_of;
use super::version_order::compare;

/// An entry of the menu.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its name: that of the file in lower case, without the counters.
    pub(crate) id: String,
    /// How often it may still be tried; none without boot counting.
    tries_left: Option<u32>,
    tries_done: u32,
    sort_key: Option<String>,
    machine_id: String,
    /// Such as `Generation 12 NixOS 26.05, built on 2026-07-14`.
    version: String,
    /// Kernel, initrds and device tree: paths on the partition.
    files: Vec<String>,
    /// The kernel's command line.
    options: String,
    /// It is a unified kernel image, which has its command line inside.
    image: bool,
}

/// What the firmware's variables choose: names of entries, or patterns of names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Variables {
    /// For the next boot only.
    pub(super) one_shot: Option<String>,
    /// Unless it is bad.
    pub(super) preferred: Option<String>,
    /// In any case.
    pub(super) default: Option<String>,
}

impl Entry {
    /// Parses the file `name`. Lines that are not known have no effect on the choice.
    pub(super) fn parse(name: &str, text: &str) -> Self {
        let (id, counters) = counters(name);
        let (tries_left, tries_done) = counters.map_or((None, 0), |(left, done)| (Some(left), done));
        let mut entry = Self { id, tries_left, tries_done, ..Self::default() };
        for (key, value) in lines(text) {
            match key {
                "sort-key" => entry.sort_key = Some(value.to_owned()),
                "machine-id" => value.clone_into(&mut entry.machine_id),
                "version" => value.clone_into(&mut entry.version),
                "linux" | "initrd" | "devicetree" => entry.files.push(value.to_owned()),
                "options" if entry.options.is_empty() => value.clone_into(&mut entry.options),
                "options" => entry.options = format!("{} {value}", entry.options),
                "uki" | "efi" => {
                    entry.files.push(value.to_owned());
                    entry.image = true;
                }
                _ => {}
            }
        }
        entry
    }

    /// The files that it needs, as paths on its partition.
    pub(crate) fn files(&self) -> &[String] {
        &self.files
    }

    /// The generation of the system that it is for.
    pub(crate) fn generation(&self) -> Option<u64> {
        let number = self.version.strip_prefix("Generation ")?;
        number.split(' ').next()?.parse().ok()
    }

    /// The system that it boots.
    pub(super) fn system(&self) -> Result<PathBuf, String> {
        match system_of(&self.options) {
            Some(system) => Ok(system),
            None if self.image => Err(format!("the default entry {} is a unified kernel image", self.id)),
            None => Err(format!("the default entry {} is not one of NixOS", self.id)),
        }
    }

    fn is_bad(&self) -> bool {
        self.tries_left == Some(0)
    }

    /// The order of the menu.
    fn compare(&self, other: &Self) -> Ordering {
        let keys = || match (&self.sort_key, &other.sort_key) {
            (Some(a), Some(b)) => a
                .cmp(b)
                .then_with(|| self.machine_id.cmp(&other.machine_id))
                .then_with(|| compare(&other.version, &self.version)),
            (a, b) => a.is_none().cmp(&b.is_none()),
        };
        // Where only one of two entries of a name has counters, systemd-boot leaves the order open.
        let tries = || match (self.tries_left, other.tries_left) {
            (Some(a), Some(b)) => b.cmp(&a).then(self.tries_done.cmp(&other.tries_done)),
            (a, b) => a.is_some().cmp(&b.is_some()),
        };
        let bad = self.is_bad().cmp(&other.is_bad());
        let order = bad.then_with(keys).then_with(|| compare(&other.id, &self.id)).then_with(tries);
        // What is left has no order there. One is chosen, so that the answer is the same each time.
        order.then_with(|| (&self.id, &self.options).cmp(&(&other.id, &other.options)))
    }
}

/// The name of an entry, and its counters: tries left and tries done.
fn counters(file: &str) -> (String, Option<(u32, u32)>) {
    let counted = || {
        let (name, counters) = file.strip_suffix(".conf")?.rsplit_once('+')?;
        let (left, done) = counters.split_once('-').unwrap_or((counters, "0"));
        Some((format!("{name}.conf"), (left.parse().ok()?, done.parse().ok()?)))
    };
    match counted() {
        Some((id, counters)) => (id.to_lowercase(), Some(counters)),
        None => (file.to_lowercase(), None),
    }
}

/// Keys and values of a file.
fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once([' ', '\t'])).map(|(key, value)| (key, value.trim()))
}

/// The entry that systemd-boot starts if nobody chooses another one. `conf` is the text of loader.conf, `entries` are
/// all of them in no order. `has_images`: there are unified kernel images as well, which are entries, and whose place
/// in the menu is not known here.
///
/// # Errors
/// Why that is not known.
pub(super) fn default_entry<'a>(
    conf: &str,
    variables: &Variables,
    entries: &'a [Entry],
    has_images: bool,
) -> Result<&'a Entry, String> {
    let mut menu: Vec<&Entry> = entries.iter().collect();
    short::sort_by(&mut menu, |a, b| a.compare(b));
    // The last line of a key counts.
    let set = |wanted: &str| lines(conf).filter(|(key, _)| *key == wanted).last().map(|(_, value)| value);
    let choices = [
        (variables.one_shot.as_deref(), false),
        (variables.preferred.as_deref(), true),
        (set("preferred"), true),
        (variables.default.as_deref(), false),
        (set("default"), false),
    ];
    for (pattern, skips_bad) in choices {
        let Some(pattern) = pattern else { continue };
        // `@saved` is the last one that was booted, and brackets are for sets of letters: NixOS writes neither.
        if pattern.starts_with('@') || pattern.contains(['[', '\\']) {
            return Err(format!("the default entry is chosen by `{pattern}`, which is not understood"));
        }
        let pattern = pattern.to_lowercase();
        if has_images && pattern.contains(['*', '?']) {
            return Err("there are unified kernel images, whose place in the menu is not known".to_owned());
        }
        let found = menu.iter().find(|entry| matches(&pattern, &entry.id) && !(skips_bad && entry.is_bad()));
        match found {
            Some(entry) => return Ok(entry),
            None if has_images && pattern.ends_with(".efi") => {
                return Err("the default entry is a unified kernel image".to_owned());
            }
            None => {}
        }
    }
    if has_images {
        return Err("there are unified kernel images, whose place in the menu is not known".to_owned());
    }
    menu.first().copied().ok_or_else(|| "systemd-boot has no entries".to_owned())
}

/// Whether a pattern with `*` and `?` matches the whole text.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut in_text) = (0, 0);
    // Where to go on if the newest `*` has to match one letter more.
    let mut retry = None;
    while in_text < text.len() {
        match pattern.get(at) {
            Some('*') => {
                retry = Some((at + 1, in_text + 1));
                at += 1;
            }
            Some(letter) if *letter == '?' || *letter == text[in_text] => {
                at += 1;
                in_text += 1;
            }
            _ => {
                let Some((pattern_at, text_at)) = retry else { return false };
                (at, in_text) = (pattern_at, text_at);
                retry = Some((pattern_at, text_at + 1));
            }
        }
    }
    pattern[at..].iter().all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, text: &str) -> Entry {
        Entry::parse(name, &text.replace("; ", "\n"))
    }

    /// A menu as NixOS writes it: generations 9 to 11, the newest with boot counting.
    fn menu(tries: &str) -> Vec<Entry> {
        let of = |number: u32, counters: &str| {
            let text = format!(
                "title NixOS; sort-key nixos; version Generation {number} NixOS 26.05, built on 2026-07-14; \
                 linux /EFI/nixos/k.efi; initrd /EFI/nixos/i.efi; \
                 options init=/nix/store/{number}-nixos-system-web-1/init quiet; machine-id 11"
            );
            entry(&format!("nixos-generation-{number}{counters}.conf"), &text)
        };
        let windows = entry("windows.conf", "title Windows; sort-key windows; efi /EFI/win.efi");
        vec![of(9, ""), windows, of(11, tries), of(10, "")]
    }

    #[test]
    fn the_name_of_an_entry_has_no_counters() {
        for (name, id, expected) in [
            ("nixos-generation-5.conf", "nixos-generation-5.conf", None),
            ("nixos-generation-5+3.conf", "nixos-generation-5.conf", Some((3, 0))),
            ("nixos-generation-5+2-1.conf", "nixos-generation-5.conf", Some((2, 1))),
            ("NixOS+0-3.conf", "nixos.conf", Some((0, 3))),
            ("a+b+1.conf", "a+b.conf", Some((1, 0))),
            ("a+b.conf", "a+b.conf", None),
            ("a+1-b.conf", "a+1-b.conf", None),
        ] {
            assert_eq!(counters(name), (id.to_owned(), expected), "{name}");
        }
    }

    #[test]
    fn patterns_are_those_of_a_shell() {
        for (pattern, text, expected) in [
            ("nixos-*", "nixos-generation-5.conf", true),
            ("*5.conf", "nixos-generation-5.conf", true),
            ("n*5*", "nixos-generation-5.conf", true),
            ("nixos-generation-?.conf", "nixos-generation-5.conf", true),
            ("nixos-generation-?.conf", "nixos-generation-15.conf", false),
            ("nixos-generation-5", "nixos-generation-5.conf", false),
            ("*", "", true),
            ("", "a", false),
            ("*.efi", "nixos-generation-5.conf", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_default_entry_is_that_of_systemd_boot() {
        let chosen = |conf: &str, variables: Variables, tries: &str| {
            let entries = menu(tries);
            default_entry(conf, &variables, &entries, false).map(|entry| entry.id.clone())
        };
        let named = |number: u32| Ok(format!("nixos-generation-{number}.conf"));
        let none = Variables::default;
        let text = |text: &str| Some(text.to_owned());
        let preferring = "preferred nixos-generation-11.conf\ndefault nixos-*\n";
        for (conf, variables, tries, expected) in [
            ("timeout 5\ndefault nixos-generation-10.conf\n", none(), "", named(10)),
            ("default nixos-generation-10.conf\ndefault nixos-generation-9.conf", none(), "", named(9)),
            ("default NIXOS-generation-10.conf\n", none(), "", named(10)),
            // 9 is above 11 by letters, and below it as a version.
            ("default nixos-*\n", none(), "", named(11)),
            ("default nixos-*\n", none(), "+2-1", named(11)),
            ("default nixos-*\n", none(), "+0-3", named(10)),
            (preferring, none(), "+1-2", named(11)),
            (preferring, none(), "+0-3", named(10)),
            // `default` does not ask whether it is bad.
            ("default nixos-generation-11.conf\n", none(), "+0-3", named(11)),
            ("default gone.conf\n", none(), "", named(11)),
            ("", none(), "", named(11)),
            (
                "default nixos-*",
                Variables { default: text("nixos-generation-9.conf"), ..none() },
                "",
                named(9),
            ),
            ("default nixos-*", Variables { default: text("gone.conf"), ..none() }, "", named(11)),
            (
                preferring,
                Variables {
                    one_shot: text("nixos-generation-10.conf"),
                    default: text("nixos-generation-9.conf"),
                    ..none()
                },
                "",
                named(10),
            ),
            (
                "default nixos-*",
                Variables { preferred: text("nixos-generation-9.conf"), ..none() },
                "",
                named(9),
            ),
            ("default windows.conf", none(), "", Ok("windows.conf".to_owned())),
            (
                "default @saved",
                none(),
                "",
                Err("the default entry is chosen by `@saved`, which is not understood".to_owned()),
            ),
        ] {
            assert_eq!(chosen(conf, variables.clone(), tries), expected, "{conf:?} {variables:?} {tries}");
        }
    }

    #[test]
    fn unified_kernel_images_make_an_open_choice_unknown() {
        let entries = menu("");
        let chosen = |conf: &str| default_entry(conf, &Variables::default(), &entries, true);
        assert_eq!(chosen("default nixos-generation-9.conf").unwrap().id, "nixos-generation-9.conf");
        for conf in ["default nixos-*", "default nixos-generation-12.efi", "", "default gone.conf"] {
            assert!(chosen(conf).unwrap_err().contains("unified kernel image"), "{conf}");
        }
    }

    #[test]
    fn an_entry_names_its_system_or_says_why_not() {
        let nixos = &menu("")[0];
        assert_eq!(nixos.system(), Ok(PathBuf::from("/nix/store/9-nixos-system-web-1")));
        assert_eq!((nixos.generation(), nixos.files().len()), (Some(9), 2));
        for (text, expected) in [
            ("uki /EFI/nixos/a-uki.efi", "the default entry a.conf is a unified kernel image"),
            ("linux /k; options root=LABEL=x", "the default entry a.conf is not one of NixOS"),
            ("linux /k; options init=/sbin/other", "the default entry a.conf is not one of NixOS"),
            ("linux /k; options init=init", "the default entry a.conf is not one of NixOS"),
            ("linux /k; options init=/init", "the default entry a.conf is not one of NixOS"),
        ] {
            assert_eq!(entry("a.conf", text).system(), Err(expected.to_owned()), "{text}");
        }
        let split = entry("a.conf", "options quiet; options init=/nix/store/a/init; # options init=/b/init");
        assert_eq!(split.system(), Ok(PathBuf::from("/nix/store/a")));
    }
}
