//! Settings of a unit, from the output of `systemctl cat`: the unit file, then its drop-ins.
//!
//! `systemctl show` is not used: some versions leave out credentials, and it needs the bus.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nixfleet_config::Problem;
use nixfleet_config::environment_file::assignments;
use nixfleet_os::bounded_read;
use nixfleet_os::subprocess::{self, ProgramError};

/// Time limit for systemctl. It takes milliseconds, unless the service manager is very busy.
const ANSWER: Duration = Duration::from_secs(3);

/// Longest file of variables that is read, in bytes. Such files have a few lines.
const MAX_FILE: u64 = 64 * 1024;

/// Where systemd keeps the credentials of running units, each in a folder of the unit. Root and the unit can read them.
const PASSED: &str = "/run/credentials";

/// Name of the agent's unit. The Go agent's unit has the same name.
pub(crate) const AGENT_UNIT: &str = "nixfleet-agent.service";

/// The settings of a unit that matter here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) environment: BTreeMap<String, String>,
    /// Path of each credential, by its name.
    pub(crate) credentials: BTreeMap<String, PathBuf>,
    /// Encrypted credentials, by their name: the setting that passes them. Their content is known to systemd alone.
    pub(crate) encrypted: BTreeMap<String, &'static str>,
    /// The variables of `DefaultEnvironment=`, which systemd gives to each unit.
    pub(crate) manager: BTreeMap<String, String>,
    pub(crate) user: Option<String>,
    /// Files with more variables, in order. A file that is `optional` may be absent.
    pub(crate) environment_files: Vec<EnvironmentFile>,
    /// The program that is started, and its arguments.
    pub(crate) command: Vec<String>,
    /// The unit file and its drop-ins, as the comments of `systemctl cat` name them.
    pub(crate) files: Vec<PathBuf>,
}

/// A file in `EnvironmentFile=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EnvironmentFile {
    pub(crate) path: PathBuf,
    pub(crate) optional: bool,
}

/// The unit, if systemd knows it.
pub(crate) fn find(name: &str) -> Option<Unit> {
    let text = subprocess::output(Path::new("systemctl"), &["cat", "--no-pager", "--", name], ANSWER).ok()?;
    let mut unit = parse(&String::from_utf8_lossy(&text));
    // Older versions do not know cat-config. Then there are no such variables, as on most hosts.
    let arguments = ["cat-config", "--no-pager", "systemd/system.conf"];
    if let Ok(text) = subprocess::output(Path::new("systemd-analyze"), &arguments, ANSWER) {
        unit.manager = default_environment(&String::from_utf8_lossy(&text));
    }
    Some(unit)
}

/// The variables in the configuration of the service manager: system.conf, then its drop-ins (systemd-system.conf(5)).
fn default_environment(text: &str) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let mut in_manager = false;
    for line in lines(text) {
        if line.starts_with('[') {
            in_manager = line == "[Manager]";
        }
        let Some((key, value)) = line.split_once('=').filter(|_| in_manager) else { continue };
        match (key.trim(), value.trim()) {
            ("DefaultEnvironment", "") => variables.clear(),
            ("DefaultEnvironment", value) => variables.extend(assigned(value)),
            _ => {}
        }
    }
    variables
}

/// The variables in one line of `Environment=` or `DefaultEnvironment=`.
fn assigned(value: &str) -> Vec<(String, String)> {
    let pair = |word: String| word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    words(value).into_iter().filter_map(pair).collect()
}

/// The state of a unit, such as `active`.
///
/// # Errors
/// systemctl did not answer.
pub(crate) fn state(name: &str) -> Result<String, ProgramError> {
    let (_, said) = subprocess::outcome(Path::new("systemctl"), &["is-active", "--", name], &[], ANSWER)?;
    Ok(said.trim().to_owned())
}

/// Parses systemd.syntax(7), as far as our units and those of NixOS use it.
pub(crate) fn parse(text: &str) -> Unit {
    let mut unit = Unit::default();
    let mut in_service = false;
    for line in lines(text) {
        if let Some(comment) = line.strip_prefix(['#', ';']) {
            let path = comment.trim();
            if path.starts_with('/') && (path.ends_with(".service") || path.ends_with(".conf")) {
                unit.files.push(PathBuf::from(path));
            }
            continue;
        }
        if line.starts_with('[') {
            in_service = line == "[Service]";
        }
        if let Some((key, value)) = line.split_once('=').filter(|_| in_service) {
            unit.set(key.trim(), value.trim());
        }
    }
    unit
}

/// Lines without the blanks around them. A backslash at the end of a line joins it with the next line that is
/// not a comment.
fn lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut begun: Option<String> = None;
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            lines.push(line.to_owned());
            continue;
        }
        let (part, goes_on) = line.strip_suffix('\\').map_or((line, false), |part| (part, true));
        let whole = begun.take().map_or_else(|| part.to_owned(), |begun| format!("{begun} {part}"));
        if goes_on { begun = Some(whole) } else { lines.push(whole) }
    }
    lines.extend(begun);
    lines
}

impl Unit {
    /// The variables of its processes, of which the later ones count, as for systemd: those of `DefaultEnvironment=`, of
    /// `Environment=` and of `EnvironmentFile=`.
    /// Beside them, the files that this user cannot read.
    pub(crate) fn variables(&self) -> (BTreeMap<String, String>, Vec<Problem>) {
        let mut variables = self.manager.clone();
        variables.extend(self.environment.clone());
        let mut unread = Vec::new();
        for file in &self.environment_files {
            match bounded_read::read(&file.path, MAX_FILE) {
                Ok(bytes) => variables.extend(assignments(&bytes).into_iter().filter_map(|set| {
                    Some((String::from_utf8(set.name).ok()?, String::from_utf8(set.value).ok()?))
                })),
                Err(err) if file.optional && err.kind() == ErrorKind::NotFound => {}
                Err(err) => unread.push(Problem {
                    key: AGENT_UNIT.to_owned(),
                    what: format!("its settings in {} cannot be read: {err}", file.path.display()),
                    origin: "EnvironmentFile=".to_owned(),
                    fix: "run it as root".to_owned(),
                }),
            }
        }
        (variables, unread)
    }

    /// The file of a credential. Relative names are in systemd's folder of credentials (systemd.exec(5)).
    pub(crate) fn credential(&self, name: &str) -> Option<PathBuf> {
        self.credentials.get(name).map(|path| Path::new("/etc/credstore").join(path))
    }

    /// The file in which the content of a credential can be looked at: its own, or for an encrypted one the copy for the
    /// running unit, and the setting that passes it.
    pub(crate) fn content(&self, unit: &str, name: &str) -> Option<(PathBuf, &'static str)> {
        let own = self.credential(name).map(|path| (path, "LoadCredential="));
        own.or_else(|| Some((Path::new(PASSED).join(unit).join(name), *self.encrypted.get(name)?)))
    }

    fn set(&mut self, key: &str, value: &str) {
        const LOADED: &str = "LoadCredentialEncrypted=";
        const SET: &str = "SetCredentialEncrypted=";
        match key {
            // An empty value clears the list.
            "Environment" if value.is_empty() => self.environment.clear(),
            "Environment" => self.environment.extend(assigned(value)),
            // Both settings fill the same list of systemd, and so do those below.
            "LoadCredential" | "LoadCredentialEncrypted" if value.is_empty() => {
                self.credentials.clear();
                self.encrypted.retain(|_, setting| *setting != LOADED);
            }
            "SetCredential" | "SetCredentialEncrypted" if value.is_empty() => {
                self.encrypted.retain(|_, setting| *setting != SET);
            }
            // Without a path systemd looks in its own folders.
            "LoadCredentialEncrypted" => {
                let name = value.split(':').next().unwrap_or(value);
                self.credentials.remove(name);
                self.encrypted.insert(name.to_owned(), LOADED);
            }
            "SetCredentialEncrypted" => {
                let name = value.split(':').next().unwrap_or(value);
                // What is loaded counts more.
                self.encrypted.entry(name.to_owned()).or_insert(SET);
            }
            "LoadCredential" => {
                // Without a path, the file has the name of the credential.
                let (name, path) = value.split_once(':').unwrap_or((value, value));
                self.encrypted.remove(name);
                self.credentials.insert(name.to_owned(), PathBuf::from(path.replace("%%", "%")));
            }
            "EnvironmentFile" if value.is_empty() => self.environment_files.clear(),
            "EnvironmentFile" => {
                let (path, optional) = value.strip_prefix('-').map_or((value, false), |path| (path, true));
                let path = PathBuf::from(path.replace("%%", "%"));
                self.environment_files.push(EnvironmentFile { path, optional });
            }
            "ExecStart" if value.is_empty() => self.command.clear(),
            "ExecStart" => self.command = words(value),
            "User" => self.user = Some(value.to_owned()).filter(|user| !user.is_empty()),
            _ => {}
        }
    }
}

/// Splits words; a word or a part of it may be quoted. Of the specifiers only `%%` is expanded.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', _) => word.get_or_insert_default().extend(letters.next()),
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (_, Some(open)) if letter == open => quote = None,
            (' ' | '\t', None) => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words.into_iter().map(|word| word.replace("%%", "%")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_units_say_what_they_should() {
        let agent = parse(include_str!("../dist/systemd/nixfleet-agent.service"));
        assert_eq!(agent.environment["NIXFLEET_STATE_DIR"], "/var/lib/nixfleet-agent");
        assert_eq!(agent.environment["NIXFLEET_JOBS__LAUNCHER"], "systemd");
        assert_eq!(agent.credentials["token"], Path::new("/etc/nixfleet/token"));
        assert_eq!(agent.user.as_deref(), Some("nixfleet-agent"));
        assert_eq!(agent.credentials.keys().collect::<Vec<_>>(), ["token"], "others are optional");
        let job = parse(include_str!("../dist/systemd/nixfleet-job@.service"));
        assert_eq!(job.user.as_deref(), Some("root"));
    }

    #[test]
    fn drop_ins_add_and_an_empty_value_forgets() {
        let unit = parse(
            "# /usr/lib/x.service\n[Unit]\nUser=no\n[Service]\nEnvironment=A=1 B=2\nLoadCredential=token:/a\n\
             # /etc/x.service.d/overrides.conf\n[Service]\nLoadCredential=\nLoadCredential=token:/run/100%%\n\
             Environment=\"PATH=/nix/a b:/c\" 'D=4' \\\n  E=5\nEnvironment=B=3\n",
        );
        let wanted = [("A", "1"), ("B", "3"), ("D", "4"), ("E", "5"), ("PATH", "/nix/a b:/c")];
        let found: Vec<(&str, &str)> =
            unit.environment.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(found, wanted);
        assert_eq!(unit.credentials["token"], Path::new("/run/100%"));
        assert_eq!(unit.user, None);
        assert_eq!(
            unit.files,
            [Path::new("/usr/lib/x.service"), Path::new("/etc/x.service.d/overrides.conf")]
        );
        assert!(parse("[Service]\nEnvironment=A=1\nEnvironment=\n").environment.is_empty());
    }

    #[test]
    fn encrypted_credentials_are_known_and_their_content_is_that_of_the_running_unit() {
        let at = |text: &str| parse(&format!("[Service]\n{text}")).content("a.service", "token");
        let passed = PathBuf::from("/run/credentials/a.service/token");
        let own = |path: &str| Some((PathBuf::from(path), "LoadCredential="));
        for (text, wanted) in [
            ("LoadCredentialEncrypted=token:/a.cred\n", Some((passed.clone(), "LoadCredentialEncrypted="))),
            ("LoadCredentialEncrypted=token\n", Some((passed.clone(), "LoadCredentialEncrypted="))),
            (
                "SetCredentialEncrypted=token: \\\n  AAAA \\\n  BBBB\n",
                Some((passed, "SetCredentialEncrypted=")),
            ),
            ("LoadCredential=token:/a\nSetCredentialEncrypted=token:AA\n", own("/a")),
            ("LoadCredentialEncrypted=token:/a.cred\nLoadCredential=token:/b\n", own("/b")),
            ("LoadCredentialEncrypted=token:/a.cred\nLoadCredential=\n", None),
            ("SetCredentialEncrypted=token:AA\nSetCredential=\n", None),
            ("LoadCredentialEncrypted=other:/a.cred\n", None),
            ("LoadCredential=token\n", own("/etc/credstore/token")),
        ] {
            assert_eq!(at(text), wanted, "{text}");
        }
    }

    #[test]
    fn variables_of_the_service_manager_count_below_those_of_the_unit() {
        let manager = "# /etc/systemd/system.conf\n[Manager]\n#DefaultEnvironment=NO=1\nDefaultEnvironment=NO=2\n\
                       DefaultEnvironment=\nDefaultEnvironment=A=1 \"HTTPS_PROXY=http://p:1\"\n\
                       # /etc/systemd/system.conf.d/x.conf\n[Other]\nDefaultEnvironment=NO=3\n";
        let mut unit = parse("[Service]\nEnvironment=A=2\n");
        unit.manager = default_environment(manager);
        let (variables, unread) = unit.variables();
        let found: Vec<(&str, &str)> = variables.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(found, [("A", "2"), ("HTTPS_PROXY", "http://p:1")]);
        assert!(unread.is_empty());
    }

    #[test]
    fn programs_and_files_with_variables_are_read_across_lines() {
        let unit = parse(
            "[Service]\n# a comment that ends with \\\nExecStart=/nix/bin/agent \\\n  # between\n  --quiet \"a b\"\n\
             EnvironmentFile=/old\nEnvironmentFile=\nEnvironmentFile=-/etc/100%%.env\nEnvironmentFile=/run/token\n",
        );
        assert_eq!(unit.command, ["/nix/bin/agent", "--quiet", "a b"]);
        let files: Vec<(&Path, bool)> =
            unit.environment_files.iter().map(|file| (file.path.as_path(), file.optional)).collect();
        assert_eq!(files, [(Path::new("/etc/100%.env"), true), (Path::new("/run/token"), false)]);
    }

    #[test]
    fn words_are_split_as_systemd_does() {
        for (text, wanted) in [
            ("a b\tc", vec!["a", "b", "c"]),
            (r#""a b" c"#, vec!["a b", "c"]),
            (r#"A="b c" ''"#, vec!["A=b c", ""]),
            (r#"a\ b "c\"d""#, vec!["a b", "c\"d"]),
            ("", vec![]),
        ] {
            assert_eq!(words(text), wanted, "{text}");
        }
    }
}
