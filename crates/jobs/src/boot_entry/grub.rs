//! The default entry of GRUB's menu, as NixOS writes it. Pure: no I/O.
//!
//! GRUB's file is a program. What decides here is what NixOS writes: the lines `set default=`, entries and submenus.
//! An entry within a condition makes the numbers of entries uncertain, and with them the answer.

use std::collections::BTreeMap;
use std::path::PathBuf;

use nixfleet_os::short;

use super::system_of;

/// The variables that GRUB keeps in `grubenv`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Parses a block of GRUB: lines `NAME=VALUE`, filled up with `#`.
    pub(super) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.split_once('='));
        Self(short::gather(pairs.map(|(name, value)| (name.to_owned(), value.to_owned()))))
    }

    /// The value; none if it is empty, as for GRUB's `if [ "${NAME}" ]`.
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// An entry of the menu, or a submenu.
#[derive(Debug, Default, PartialEq, Eq)]
struct Item {
    title: String,
    id: Option<String>,
    /// The command line of its kernel.
    kernel: String,
    /// Of a submenu.
    items: Vec<Item>,
    is_submenu: bool,
}

/// A block between braces that is not closed yet.
#[derive(Debug)]
enum Block {
    Item(Item),
    /// A function, for example.
    Other,
}

/// The system of the default entry.
///
/// # Errors
/// Why that is not known.
pub(super) fn default_system(menu: &str, environment: &Environment) -> Result<PathBuf, String> {
    let wanted = default(menu, environment)?;
    let items = items(menu)?;
    let mut level = &items;
    let mut parts = wanted.split('>').peekable();
    while let Some(part) = parts.next() {
        let found = match part.parse::<usize>() {
            Ok(number) => level.get(number),
            Err(_) => level.iter().find(|item| item.title == part || item.id.as_deref() == Some(part)),
        };
        let item = found.ok_or_else(|| format!("the menu of GRUB has no entry `{wanted}`"))?;
        match (item.is_submenu, parts.peek()) {
            (true, Some(_)) => level = &item.items,
            (false, None) => {
                let other = || format!("the default entry `{}` of GRUB is not one of NixOS", item.title);
                return system_of(&item.kernel).ok_or_else(other);
            }
            _ => return Err(format!("the default entry `{wanted}` of GRUB is a submenu, or within none")),
        }
    }
    Err("GRUB has no default entry".to_owned())
}

/// The number or name of the default entry.
fn default(menu: &str, environment: &Environment) -> Result<String, String> {
    let lines = menu.lines().map(str::trim);
    let values: Vec<&str> = lines
        .filter_map(|line| line.strip_prefix("set default="))
        .map(|value| value.trim_matches('"'))
        .collect();
    let variable =
        |value: &str| value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).map(str::to_owned);
    // The first line is within `if [ "${NAME}" ]`, for the next boot only; the second one is behind `else`.
    let usual = match values.as_slice() {
        [] => "0",
        [usual] => usual,
        [once, usual] => match variable(once) {
            Some(name) => match environment.get(&name) {
                Some(chosen) => return Ok(chosen.to_owned()),
                None => usual,
            },
            None => return Err("GRUB's file sets its default entry twice".to_owned()),
        },
        _ => return Err("GRUB's file sets its default entry more than twice".to_owned()),
    };
    Ok(match variable(usual) {
        // GRUB takes an empty name for the first entry.
        Some(name) => environment.get(&name).unwrap_or("0").to_owned(),
        None => usual.to_owned(),
    })
}

/// The menu.
fn items(menu: &str) -> Result<Vec<Item>, String> {
    let mut top = Vec::new();
    let mut open: Vec<Block> = Vec::new();
    let mut conditions = 0_usize;
    for line in menu.lines().map(str::trim) {
        let word = line.split_whitespace().next().unwrap_or_default();
        match word {
            "if" => conditions += 1,
            "fi" => conditions = conditions.saturating_sub(1),
            "linux" | "linuxefi" | "module" | "module2" => {
                if let Some(Block::Item(item)) = open.last_mut()
                    && item.kernel.is_empty()
                {
                    line.clone_into(&mut item.kernel);
                }
            }
            _ => {}
        }
        let is_item = matches!(word, "menuentry" | "submenu");
        if is_item && conditions > 0 {
            return Err("an entry of GRUB's menu is within a condition".to_owned());
        }
        if is_item || line.ends_with('{') {
            open.push(if is_item { Block::Item(item(line, word)) } else { Block::Other });
        }
        let closes = line.starts_with('}') || (is_item && line.ends_with('}'));
        if closes && let Some(Block::Item(item)) = open.pop() {
            match open.iter_mut().rev().find_map(|block| match block {
                Block::Item(item) => Some(item),
                Block::Other => None,
            }) {
                Some(above) => above.items.push(item),
                None => top.push(item),
            }
        }
    }
    if open.is_empty() { Ok(top) } else { Err("GRUB's file ends within an entry".to_owned()) }
}

fn item(line: &str, word: &str) -> Item {
    let rest = line.strip_prefix(word).unwrap_or_default().trim();
    let quote = rest.chars().next().filter(|letter| matches!(letter, '"' | '\''));
    let title = match quote {
        Some(quote) => rest.get(1..).and_then(|rest| rest.split(quote).next()).unwrap_or_default(),
        None => rest.split_whitespace().next().unwrap_or_default(),
    };
    let mut words = rest.split_whitespace().skip_while(|word| *word != "--id");
    let id = words.nth(1).map(|id| id.trim_matches(['"', '\'']).to_owned());
    Item { title: title.to_owned(), id, is_submenu: word == "submenu", ..Item::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the script of NixOS writes it, with an entry of the operator behind the first one.
    const MENU: &str = r#"
# Automatically generated.  DO NOT EDIT THIS FILE!
search --set=drive1 --fs-uuid 1234
if [ -s $prefix/grubenv ]; then
  load_env
fi
# ‘grub-reboot’ sets a one-time saved entry, which we process here and
# then delete.
if [ "${next_entry}" ]; then
  set default="${next_entry}"
  set next_entry=
  save_env next_entry
  set timeout=1
  set boot_once=true
else
  set default=0
  set timeout=5
fi
function savedefault {
  if [ -z "${boot_once}"]; then
  saved_entry="${chosen}"
  save_env saved_entry
  fi
}
menuentry "NixOS" --class nixos --unrestricted {
search --set=drive1 --fs-uuid 1234
  linux ($drive1)/nix/store/k-linux/bzImage init=/nix/store/12-nixos-system-web-1/init loglevel=4
  initrd ($drive1)/nix/store/i-initrd/initrd
}
menuentry 'Windows' --id win { chainloader +1 }
submenu "NixOS - All configurations" --class submenu {
menuentry "NixOS - Configuration 12 (2026-07-14 - 26.05)" --class nixos {
  linux /k init=/nix/store/12-nixos-system-web-1/init
}
menuentry "NixOS - Configuration 11 (2026-07-01 - 26.05)" --class nixos {
  multiboot /xen
  module /k init=/nix/store/11-nixos-system-web-1/init
}
}
"#;

    #[test]
    fn the_default_entry_is_that_of_grub() {
        let system = |number: u32| Ok(PathBuf::from(format!("/nix/store/{number}-nixos-system-web-1")));
        let fails = |text: &str| Err(text.to_owned());
        for (default, environment, expected) in [
            ("0", "", system(12)),
            ("\"0\"", "", system(12)),
            ("\"2>1\"", "", system(11)),
            ("\"NixOS - All configurations>NixOS - Configuration 11 (2026-07-01 - 26.05)\"", "", system(11)),
            ("NixOS", "", system(12)),
            ("0", "next_entry=2>1", system(11)),
            ("0", "next_entry=", system(12)),
            ("0", "saved_entry=2>1", system(12)),
            ("\"${saved_entry}\"", "saved_entry=2>1", system(11)),
            ("\"${saved_entry}\"", "", system(12)),
            ("win", "", fails("the default entry `Windows` of GRUB is not one of NixOS")),
            ("1", "", fails("the default entry `Windows` of GRUB is not one of NixOS")),
            ("7", "", fails("the menu of GRUB has no entry `7`")),
            ("2", "", fails("the default entry `2` of GRUB is a submenu, or within none")),
            ("0>0", "", fails("the default entry `0>0` of GRUB is a submenu, or within none")),
        ] {
            let menu = MENU.replacen("set default=0", &format!("set default={default}"), 1);
            let block = format!("# GRUB Environment Block\n{environment}\n####");
            assert_eq!(
                default_system(&menu, &Environment::parse(&block)),
                expected,
                "{default} {environment}"
            );
        }
    }

    #[test]
    fn a_file_that_is_not_that_of_nixos_has_no_answer() {
        let answer = |menu: &str| default_system(menu, &Environment::default());
        for (menu, expected) in [
            (MENU.replace("menuentry \"NixOS\"", "if true\nmenuentry \"NixOS\""), "is within a condition"),
            (MENU.replace("set timeout=5", "set default=1"), "more than twice"),
            (MENU.replace("${next_entry}\"\n", "1\"\n"), "twice"),
            (MENU.trim_end().trim_end_matches('}').to_owned(), "ends within an entry"),
            (String::new(), "no entry `0`"),
        ] {
            let err = answer(&menu).unwrap_err();
            assert!(err.contains(expected), "{expected}: {err}");
        }
    }
}
