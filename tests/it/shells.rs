//! The files of dist/completions in the shells that they are for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::skipped::skipped_unless;

/// Set where a skipped test would not be noticed.
const REQUIRED: &str = "NIXFLEET_REQUIRE_SHELLS_TEST";

/// Seconds for a script of a shell, which takes less than one.
const PATIENCE: &str = "60";

/// A word that is being written, behind the words before it, and what a shell offers for it.
struct Case {
    words: &'static [&'static str],
    /// All of these are offered.
    has: &'static [&'static str],
    /// None of these is.
    lacks: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case { words: &["lo"], has: &["logs"], lacks: &["status", "agent.toml"] },
    Case { words: &["check"], has: &["check-config"], lacks: &["logs"] },
    Case { words: &["logs", "--"], has: &["--follow", "--list", "--color"], lacks: &["--toml", "logs"] },
    Case { words: &["wait-registered", "--ti"], has: &["--timeout"], lacks: &["--config"] },
    Case { words: &["check-config", "--"], has: &["--config", "--help"], lacks: &["--follow"] },
    Case {
        words: &["vitals", "--format", ""],
        has: &["json", "avocado", "journal"],
        lacks: &["auto", "agent.toml"],
    },
    Case { words: &["logs", "--color", "al"], has: &["always"], lacks: &["auto", "json"] },
    Case { words: &["--config", "ag"], has: &["agent.toml"], lacks: &["check-config", "other"] },
    Case { words: &["--config", "agent.toml", "sta"], has: &["status"], lacks: &["logs", "agent.toml"] },
    Case { words: &["-c", "agent.toml", "logs", "--li"], has: &["--lines", "--list"], lacks: &["--json"] },
    Case { words: &["migrate", "--env-file", "ag"], has: &["agent.toml"], lacks: &["--unit"] },
    Case { words: &["logs", "-n", ""], has: &[], lacks: &["agent.toml", "--follow"] },
    Case { words: &["logs", ""], has: &[], lacks: &["agent.toml"] },
    Case { words: &["help", "sta"], has: &["status"], lacks: &["logs"] },
];

fn dist(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/completions").join(file)
}

/// A folder with files to offer, in which no file of this user is read.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("agent.toml"), "").unwrap();
        fs::write(folder.path().join("other"), "").unwrap();
        Self(folder)
    }

    /// What a script of this shell writes, or none with a message if the shell is not here.
    fn run(&self, shell: &str, arguments: &[&str], script: &str) -> Option<String> {
        let found = Command::new(shell).arg("--version").stdout(Stdio::null()).status();
        if found.is_err() {
            skipped_unless(REQUIRED, &format!("{shell} is not installed, so its completion is not tested"));
            return None;
        }
        let file = self.0.path().join(format!("script.{shell}"));
        fs::write(&file, script).unwrap();
        let mut command = Command::new("timeout");
        command.args([PATIENCE, shell]).args(arguments).arg(&file).current_dir(self.0.path());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("TERM", "xterm");
        for name in ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "ZDOTDIR"] {
            command.env(name, self.0.path());
        }
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{shell} {}: {text}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Some(text)
    }
}

/// The offers for each case: each begins with a line of its own.
#[track_caller]
fn check(shell: &str, text: &str) {
    let offers: Vec<Vec<&str>> = text
        .split("case\n")
        .skip(1)
        .map(|case| case.lines().map(|line| line.trim_end_matches(['/', ' '])).collect())
        .collect();
    assert_eq!(offers.len(), CASES.len(), "{shell}: {text}");
    for (case, offers) in CASES.iter().zip(&offers) {
        for word in case.has {
            assert!(offers.contains(word), "{shell}: {word} is not offered for {:?}", case.words);
        }
        for word in case.lacks {
            assert!(!offers.contains(word), "{shell}: {word} is offered for {:?}", case.words);
        }
    }
}

/// The lines of a script, one for each case; `line` gets its words.
fn for_each_case(line: impl Fn(&[&str]) -> String) -> String {
    CASES.iter().map(|case| line(case.words) + "\n").collect()
}

/// Calls the function that `complete` has registered, as bash does for a tab.
const PRESS_TAB: &str = r#"
press_tab() {
    local registered
    registered="$(complete -p nixfleet-agent)" || exit 1
    local name="${registered#* -F }"
    COMP_WORDS=(nixfleet-agent "$@") COMP_CWORD=$# COMP_LINE="nixfleet-agent $*" COMP_TYPE=9 COMPREPLY=()
    COMP_POINT=${#COMP_LINE}
    "${name%% *}" nixfleet-agent "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    printf 'case\n'
    if ((${#COMPREPLY[@]} > 0)); then printf '%s\n' "${COMPREPLY[@]}"; fi
}
"#;

fn bash_cases() -> String {
    for_each_case(|words| format!("press_tab {}", quoted(words)))
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ")
}

#[test]
fn bash_completes_what_is_behind_the_first_word() {
    let source = format!("source {}\n", dist("nixfleet-agent.bash").display());
    let place = Place::new();
    let Some(text) = place.run("bash", &["--norc"], &(source.clone() + PRESS_TAB + &bash_cases())) else {
        return;
    };
    check("bash", &text);
    // `=` is a word of its own, and names with blanks are one.
    fs::write(place.0.path().join("a file"), "").unwrap();
    let more = "press_tab logs --color = al\npress_tab --config = 'a '\npress_tab vitals --format =\n";
    let text = place.run("bash", &["--norc"], &(source + PRESS_TAB + more)).unwrap();
    assert_eq!(text, "case\nalways\ncase\na file\ncase\njson\navocado\nlogfmt\ntext\njournal\n");
}

#[test]
fn bash_completion_finds_the_installed_file_by_the_name_of_the_program() {
    const LIBRARY: &str = "/usr/share/bash-completion/bash_completion";
    if !Path::new(LIBRARY).exists() {
        let why = "bash-completion is not installed, so nothing loads the installed file";
        return skipped_unless(REQUIRED, why);
    }
    let place = Place::new();
    let installed = place.0.path().join("bash-completion/completions");
    fs::create_dir_all(&installed).unwrap();
    fs::copy(dist("nixfleet-agent.bash"), installed.join("nixfleet-agent")).unwrap();
    // Older versions of the library have the first name for it, newer ones the second.
    let load = format!(
        "source {LIBRARY}\nif declare -F _completion_loader; then _completion_loader nixfleet-agent; \
         else _comp_load nixfleet-agent; fi >/dev/null\n"
    );
    let Some(text) = place.run("bash", &["--norc"], &(load + PRESS_TAB + &bash_cases())) else { return };
    check("bash-completion", &text);
}

#[test]
fn zsh_completes_what_is_behind_the_first_word() {
    let place = Place::new();
    let functions = place.0.path().join("functions");
    fs::create_dir(&functions).unwrap();
    fs::copy(dist("_nixfleet-agent"), functions.join("_nixfleet-agent")).unwrap();
    // A tab needs a line editor, which needs a terminal: that of a shell in the shell. What is offered passes through
    // `compadd`, which is asked for its matches there.
    let inner = format!(
        r#"PS1= ; unsetopt beep
fpath=({} $fpath)
autoload -Uz compinit && compinit -u -d {}
compadd() {{
    if [[ " $* " == *" -"[OAD]" "* ]]; then builtin compadd "$@"; return; fi
    local -a matches
    builtin compadd -A matches "$@"
    print -rl -- $matches >>offers
    builtin compadd "$@"
}}
begin() {{ print case >>offers; BUFFER= }}
finish() {{ BUFFER=; print finished >>state }}
zle -N begin; zle -N finish
bindkey '^I' list-choices; bindkey '^T' begin; bindkey '^Y' finish
print ready >>state
"#,
        functions.display(),
        place.0.path().join("dump").display()
    );
    fs::write(place.0.path().join("inner"), inner).unwrap();
    let cases = for_each_case(|words| format!("press_tab {}", quoted(words)));
    // Each wait ends after 20 s, or with the shell that is waited for.
    let script = format!(
        r#"zmodload zsh/zpty zsh/zselect
zpty inner zsh -f -i
states=0
await() {{
    ((states++))
    local tries
    for ((tries = 0; tries < 1000; tries++)); do
        zpty -t inner || exit 1
        while zpty -rt inner seen; do :; done
        if [[ -e state ]] && ((${{#${{(f)"$(<state)"}}}} >= states)); then return; fi
        zselect -t 2
    done
    print -u2 "no state $states"
    exit 1
}}
press_tab() {{
    zpty -wn inner $'\x14'"nixfleet-agent $*"$'\t\x19'
    await
}}
zpty -w inner 'source ./inner'
await
{cases}
cat offers
zpty -d inner
"#
    );
    let Some(text) = place.run("zsh", &["-f"], &script) else { return };
    check("zsh", &text);
}

#[test]
fn fish_completes_what_is_behind_the_first_word() {
    let script = format!("source {}\n", dist("nixfleet-agent.fish").display())
        + &for_each_case(|words| {
            format!(
                "echo case\ncomplete -C 'nixfleet-agent {}' | string replace -r '\\t.*' ''; true",
                words.join(" ")
            )
        });
    let Some(text) = Place::new().run("fish", &["--no-config"], &script) else { return };
    check("fish", &text);
}
