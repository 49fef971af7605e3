//! The completion for bash. The generator of clap_complete names its functions after the program and its subcommands in
//! two ways that differ for names with a hyphen, so what it writes completes the first word only.

use clap::{Arg, Command, ValueHint};

/// What stands at the place of a value.
enum Value {
    Words(String),
    File,
    /// Nobody can know it, such as a number.
    Unknown,
}

/// The script for this command line.
pub(super) fn script(cli: &Command) -> String {
    let global: Vec<&Arg> = cli.get_arguments().collect();
    let mut subcommands: Vec<&Command> = cli.get_subcommands().collect();
    subcommands.sort_by_key(|subcommand| subcommand.get_name());
    let names: Vec<&str> = subcommands.iter().map(|subcommand| subcommand.get_name()).collect();
    let (mut values, mut words) = (String::new(), String::new());
    for subcommand in &subcommands {
        let name = subcommand.get_name();
        let own: Vec<&Arg> = subcommand.get_arguments().collect();
        for option in &own {
            values += &arm(name, option);
        }
        let inherited = global.iter().copied().filter(|option| option.is_global_set());
        line(&mut words, 8, &format!("{name}) words=\"{}\" ;;", options(inherited.chain(own)).join(" ")));
    }
    for option in &global {
        values += &arm(if option.is_global_set() { "*" } else { "" }, option);
    }
    let (first, names) = (options(global.iter().copied()).join(" "), names.join(" "));
    line(&mut words, 8, &format!("*) words=\"{first} -V --version {names} help\" ;;"));
    let with_value = global.iter().filter(|option| takes_value(option)).flat_map(|option| forms(option));
    TEMPLATE
        .replace("WITH_VALUE", &with_value.collect::<Vec<_>>().join(" | "))
        .replace("SUBCOMMANDS_BAR", &names.replace(' ', " | "))
        .replace("SUBCOMMANDS", &names)
        .replace("VALUES\n", &values)
        .replace("WORDS\n", &words)
}

/// `help` completes the name behind it only; a word behind a subcommand's name is none of a subcommand.
const TEMPLATE: &str = r#"# Bash completion of nixfleet-agent. UPDATE_DIST=1 cargo test --lib dist writes it from the command line.
# It works where bash-completion finds it by the name of the program, and where it is sourced.

_nixfleet_agent() {
    local current="${COMP_WORDS[COMP_CWORD]}" before="" subcommand="" words="" place
    if ((COMP_CWORD > 0)); then before="${COMP_WORDS[COMP_CWORD - 1]}"; fi
    # --option=value arrives as three words.
    if [[ $current == "=" ]]; then
        current=""
    elif [[ $before == "=" ]] && ((COMP_CWORD > 1)); then
        before="${COMP_WORDS[COMP_CWORD - 2]}"
    fi
    COMPREPLY=()
    for ((place = 1; place < COMP_CWORD; place++)); do
        case "${COMP_WORDS[place]}" in
        WITH_VALUE)
            if [[ ${COMP_WORDS[place + 1]} == "=" ]]; then ((place++)); fi
            ((place++))
            ;;
        SUBCOMMANDS_BAR | help)
            subcommand="${COMP_WORDS[place]}"
            break
            ;;
        esac
    done
    if [[ $subcommand == help ]]; then
        if ((COMP_CWORD == place + 1)); then words="SUBCOMMANDS"; fi
    else
        case "$subcommand $before" in
VALUES
        esac
        case "$subcommand" in
WORDS
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

_nixfleet_agent_words() {
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
}

# Names with blanks stay whole, and folders get a slash.
_nixfleet_agent_files() {
    mapfile -t COMPREPLY < <(compgen -f -- "$1")
    compopt -o filenames 2>/dev/null
}

complete -F _nixfleet_agent nixfleet-agent
"#;

fn line(text: &mut String, indent: usize, line: &str) {
    text.push_str(&format!("{:indent$}{line}\n", ""));
}

/// The options of a list, as one writes them. The help is everywhere.
fn options<'a>(arguments: impl IntoIterator<Item = &'a Arg>) -> Vec<String> {
    let mut words: Vec<String> = arguments.into_iter().flat_map(forms).collect();
    words.extend(["-h".to_owned(), "--help".to_owned()]);
    words
}

fn forms(option: &Arg) -> Vec<String> {
    let short = option.get_short().map(|short| format!("-{short}"));
    short.into_iter().chain(option.get_long().map(|long| format!("--{long}"))).collect()
}

fn takes_value(option: &Arg) -> bool {
    option.get_action().takes_values() && !option.is_positional()
}

/// What to do behind an option that takes a value.
fn arm(subcommand: &str, option: &Arg) -> String {
    if !takes_value(option) {
        return String::new();
    }
    let quoted = |form: &String| match subcommand {
        "*" => format!("*\" {form}\""),
        name => format!("\"{name} {form}\""),
    };
    let places: Vec<String> = forms(option).iter().map(quoted).collect();
    let what = match value(option) {
        Value::Words(words) => Some(format!("_nixfleet_agent_words \"{words}\" \"$current\"")),
        Value::File => Some("_nixfleet_agent_files \"$current\"".to_owned()),
        Value::Unknown => None,
    };
    let mut text = String::new();
    line(&mut text, 8, &format!("{})", places.join(" | ")));
    if let Some(what) = what {
        line(&mut text, 12, &what);
    }
    line(&mut text, 12, "return");
    line(&mut text, 12, ";;");
    text
}

fn value(option: &Arg) -> Value {
    let words: Vec<String> =
        option.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    match option.get_value_hint() {
        _ if !words.is_empty() => Value::Words(words.join(" ")),
        ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath => Value::File,
        _ => Value::Unknown,
    }
}
