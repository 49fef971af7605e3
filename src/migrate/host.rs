//! Looks at what else matters on the host: its name, the old user's keys, the checkout, sudo rules.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nixfleet_os::{bounded_read, short};

use super::Old;
use super::users::{self, MAX_FILE, below};

/// Most files with sudo rules that are read. Hosts have a handful.
const MAX_RULES: usize = 256;

/// The agent's own checkout, of the old agent and of this one.
pub(super) const OWN_CHECKOUT: &str = "/var/lib/nixfleet-agent/repo";

/// Private keys that ssh tries by itself (ssh_config(5), IdentityFile).
const KEYS: [&str; 6] = ["id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk", "id_dsa"];

/// What else matters on the host.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Whether it runs NixOS.
    pub is_nixos: bool,
    /// Whether the new settings become options of the NixOS module.
    pub has_module: bool,
    /// The name that the kernel has.
    pub(super) name: String,
    /// The old user's keys, if that is a person whose home is known and can be searched.
    pub(super) keys: Option<Vec<PathBuf>>,
    /// The old user's `~/.ssh/config`, if there is one.
    pub(super) ssh_config: Option<PathBuf>,
    /// Owner of the agent's own checkout, if it exists and is not root's.
    pub(super) foreign_checkout: Option<String>,
    /// Owner of the folder that the old settings name; `None` if it cannot be looked at.
    pub(super) folder_owner: Option<String>,
    /// Places of sudo rules that let the old user rebuild, as `file:line`.
    pub(super) sudo_rules: Vec<String>,
    /// Files with sudo rules that cannot be read.
    pub(super) closed_rules: Vec<PathBuf>,
}

impl Host {
    /// Looks at the host.
    pub fn look(root: &Path, old: &Old) -> Self {
        let mut host =
            Self { is_nixos: below(root, "/etc/NIXOS").exists(), name: name(root), ..Self::default() };
        let owner =
            |path: &Path| fs::metadata(below(root, path)).ok().map(|file| users::owner(root, file.uid()));
        host.foreign_checkout = owner(Path::new(OWN_CHECKOUT)).filter(|owner| owner != "root");
        host.folder_owner = old.folder().and_then(|folder| owner(Path::new(folder)));
        let Some(person) = old.person() else { return host };
        if let Some(home) = users::home_of(root, person) {
            let ssh = home.join(".ssh");
            let there =
                |_| KEYS.map(|name| ssh.join(name)).into_iter().filter(|key| below(root, key).exists());
            host.keys = match fs::read_dir(below(root, &ssh)).map(there) {
                Ok(keys) => Some(keys.collect()),
                Err(err) if err.kind() == std::io::ErrorKind::NotFound => Some(Vec::new()),
                // Without the right to search the folder, nothing is known.
                Err(_) => None,
            };
            host.ssh_config = Some(ssh.join("config")).filter(|file| below(root, file).exists());
        }
        host.look_at_sudo(root, person);
        host
    }

    fn look_at_sudo(&mut self, root: &Path, person: &str) {
        let mut files = vec![PathBuf::from("/etc/sudoers")];
        match fs::read_dir(below(root, "/etc/sudoers.d")) {
            Ok(folder) => {
                let names = folder.flatten().take(MAX_RULES).map(|item| item.file_name());
                files.extend(names.map(|name| Path::new("/etc/sudoers.d").join(name)));
            }
            Err(err) if err.kind() == std::io::ErrorKind::PermissionDenied => {
                self.closed_rules.push("/etc/sudoers.d".into());
            }
            Err(_) => {}
        }
        short::sort(&mut files);
        for file in files {
            match bounded_read::read(&below(root, &file), MAX_FILE) {
                Ok(bytes) => {
                    let rules = rules_of(person, &String::from_utf8_lossy(&bytes));
                    self.sudo_rules.extend(rules.iter().map(|line| format!("{}:{line}", file.display())));
                }
                Err(err) if err.kind() == std::io::ErrorKind::PermissionDenied => {
                    self.closed_rules.push(file)
                }
                Err(_) => {}
            }
        }
    }
}

/// Numbers of the lines that let this user run nixos-rebuild. Groups and aliases are not resolved.
pub(super) fn rules_of(person: &str, text: &str) -> Vec<usize> {
    let mut found = Vec::new();
    let (mut rule, mut begins) = (String::new(), 1);
    for (index, line) in text.lines().enumerate() {
        if rule.is_empty() {
            begins = index + 1;
        }
        let (part, goes_on) = line.strip_suffix('\\').map_or((line, false), |part| (part, true));
        rule.push_str(part);
        if goes_on {
            continue;
        }
        let whole = std::mem::take(&mut rule);
        let mut users = whole.split_whitespace().next().unwrap_or_default().split(',');
        if users.any(|user| user == person) && whole.contains("nixos-rebuild") {
            found.push(begins);
        }
    }
    found
}

fn name(root: &Path) -> String {
    if root == Path::new("/") {
        return rustix::system::uname().nodename().to_string_lossy().into_owned();
    }
    let bytes = bounded_read::read(&below(root, "/etc/hostname"), MAX_FILE).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}
