# Bash completion of nixfleet-agent. UPDATE_DIST=1 cargo test --lib dist writes it from the command line.
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
        -c | --config)
            if [[ ${COMP_WORDS[place + 1]} == "=" ]]; then ((place++)); fi
            ((place++))
            ;;
        check-config | doctor | logs | migrate | run | status | vitals | wait-registered | help)
            subcommand="${COMP_WORDS[place]}"
            break
            ;;
        esac
    done
    if [[ $subcommand == help ]]; then
        if ((COMP_CWORD == place + 1)); then words="check-config doctor logs migrate run status vitals wait-registered"; fi
    else
        case "$subcommand $before" in
        "doctor --color")
            _nixfleet_agent_words "auto always never" "$current"
            return
            ;;
        "logs -n" | "logs --lines")
            return
            ;;
        "logs --color")
            _nixfleet_agent_words "auto always never" "$current"
            return
            ;;
        "migrate --unit")
            _nixfleet_agent_files "$current"
            return
            ;;
        "migrate --env-file")
            _nixfleet_agent_files "$current"
            return
            ;;
        "migrate --root")
            _nixfleet_agent_files "$current"
            return
            ;;
        "status --color")
            _nixfleet_agent_words "auto always never" "$current"
            return
            ;;
        "vitals --format")
            _nixfleet_agent_words "json avocado logfmt text journal" "$current"
            return
            ;;
        "vitals --interval")
            return
            ;;
        "vitals --file")
            _nixfleet_agent_files "$current"
            return
            ;;
        "wait-registered --timeout")
            return
            ;;
        *" -c" | *" --config")
            _nixfleet_agent_files "$current"
            return
            ;;
        esac
        case "$subcommand" in
        check-config) words="-c --config -h --help" ;;
        doctor) words="-c --config --json --color -h --help" ;;
        logs) words="-c --config -f --follow -n --lines --list --json -t --timestamps --utc --color -h --help" ;;
        migrate) words="-c --config --unit --env-file --nixos --toml --write --root -h --help" ;;
        run) words="-c --config -h --help" ;;
        status) words="-c --config --json -v --verbose --utc --color -h --help" ;;
        vitals) words="-c --config -f --follow --format --json --utc --interval --file -h --help" ;;
        wait-registered) words="-c --config --timeout -h --help" ;;
        *) words="-c --config -h --help -V --version check-config doctor logs migrate run status vitals wait-registered help" ;;
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
