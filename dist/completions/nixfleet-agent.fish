# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_nixfleet_agent_global_optspecs
    string join \n c/config= h/help V/version
end

function __fish_nixfleet_agent_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_nixfleet_agent_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_nixfleet_agent_using_subcommand
    set -l cmd (__fish_nixfleet_agent_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c nixfleet-agent -n "__fish_nixfleet_agent_needs_command" -s c -l config -d 'Configuration file; without it /etc/nixfleet/agent.toml is read if it exists' -r -F
complete -c nixfleet-agent -n "__fish_nixfleet_agent_needs_command" -s h -l help -d 'Print help'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_needs_command" -s V -l version -d 'Print version'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_needs_command" -f -a "run" -d 'Run the agent (the default); on SIGHUP it reads the token and the certificates anew'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_needs_command" -f -a "check-config" -d 'Check the configuration and exit: 0 if it is good, 64 with one line for each problem'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_needs_command" -f -a "status" -d 'Ask the agent of this host how it is'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_needs_command" -f -a "logs" -d 'Show the log of a job of this host'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_needs_command" -f -a "doctor" -d 'Look for what is wrong with this host\'s agent, and say what to do about it'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_needs_command" -f -a "migrate" -d 'Print the settings of the Go agent of this host as settings of this one, and what will be different'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_needs_command" -f -a "vitals" -d 'Show the vitals of this machine, once or for ever; needs no dashboard'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_needs_command" -f -a "wait-registered" -d 'Wait until the agent of this host is registered with its dashboard; 1 if that takes too long'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand run" -s c -l config -d 'Configuration file; without it /etc/nixfleet/agent.toml is read if it exists' -r -F
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand run" -s h -l help -d 'Print help'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand check-config" -s c -l config -d 'Configuration file; without it /etc/nixfleet/agent.toml is read if it exists' -r -F
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand check-config" -s h -l help -d 'Print help'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand status" -l color -d 'Colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Also into files and pipes'
never\t'Nowhere'"
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand status" -s c -l config -d 'Configuration file; without it /etc/nixfleet/agent.toml is read if it exists' -r -F
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand status" -l json -d 'The whole answer as one JSON document'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand status" -s v -l verbose -d 'Also how the agent itself is: its queues, its heartbeats, and what its looks at the host cost'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand status" -l utc -d 'Times in UTC instead of the host\'s time zone'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand logs" -s n -l lines -d 'Only the last LINES lines that are there' -r -f
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand logs" -l color -d 'Colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Also into files and pipes'
never\t'Nowhere'"
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand logs" -s c -l config -d 'Configuration file; without it /etc/nixfleet/agent.toml is read if it exists' -r -F
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand logs" -s f -l follow -d 'Go on until the job ends'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand logs" -l list -d 'The jobs that are kept, newest first'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand logs" -l json -d 'The list as JSON'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand logs" -s t -l timestamps -d 'The time in front of each line'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand logs" -l utc -d 'Times in UTC instead of the host\'s time zone'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand logs" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand doctor" -l color -d 'Colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Also into files and pipes'
never\t'Nowhere'"
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand doctor" -s c -l config -d 'Configuration file; without it /etc/nixfleet/agent.toml is read if it exists' -r -F
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand doctor" -l json -d 'One JSON document'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand migrate" -l unit -d 'Read the old unit from FILE instead of asking systemd for it' -r -F
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand migrate" -l env-file -d 'Read more variables from FILE, one NAME=value a line; may be given several times' -r -F
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand migrate" -l root -d 'Look at a host whose files are below DIR, such as a mounted disk, and write there; needs --unit' -r -f -a "(__fish_complete_directories)"
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand migrate" -s c -l config -d 'Configuration file; without it /etc/nixfleet/agent.toml is read if it exists' -r -F
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand migrate" -l nixos -d 'Print options of the NixOS module, which on NixOS is the default'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand migrate" -l toml -d 'Print the settings file on NixOS, too'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand migrate" -l write -d 'Write the settings file, which is that of --config or /etc/nixfleet/agent.toml and must not exist'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand migrate" -s h -l help -d 'Print help'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand vitals" -l format -d 'Format of a line; without --follow a table is the default, with it json or the file\'s FORMAT' -r -f -a "json\t'All vitals as one JSON object'
avocado\t'The five fields of Avocado\'s heartbeat as JSON'
logfmt\t'key=value'
text\t'A sentence for people'
journal\t'Straight to the journal, a field for each figure'"
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand vitals" -l interval -d 'Seconds between two lines, instead of the file\'s INTERVAL; 30 without either' -r -f
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand vitals" -l file -d 'File with INTERVAL= and FORMAT=; without it /etc/heartbeat.conf is read if it exists' -r -F
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand vitals" -s c -l config -d 'Configuration file; without it /etc/nixfleet/agent.toml is read if it exists' -r -F
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand vitals" -s f -l follow -d 'Print a line at a fixed pace until told to end; SIGHUP reads the file again'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand vitals" -l json -d 'Short for --format json'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand vitals" -l utc -d 'The time of the table in UTC instead of the host\'s time zone'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand vitals" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand wait-registered" -l timeout -d 'Seconds to wait, 1 to 86400' -r -f
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand wait-registered" -s c -l config -d 'Configuration file; without it /etc/nixfleet/agent.toml is read if it exists' -r -F
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand wait-registered" -s h -l help -d 'Print help'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand help; and not __fish_seen_subcommand_from run check-config status logs doctor migrate vitals wait-registered" -f -a "run" -d 'Run the agent (the default); on SIGHUP it reads the token and the certificates anew'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand help; and not __fish_seen_subcommand_from run check-config status logs doctor migrate vitals wait-registered" -f -a "check-config" -d 'Check the configuration and exit: 0 if it is good, 64 with one line for each problem'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand help; and not __fish_seen_subcommand_from run check-config status logs doctor migrate vitals wait-registered" -f -a "status" -d 'Ask the agent of this host how it is'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand help; and not __fish_seen_subcommand_from run check-config status logs doctor migrate vitals wait-registered" -f -a "logs" -d 'Show the log of a job of this host'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand help; and not __fish_seen_subcommand_from run check-config status logs doctor migrate vitals wait-registered" -f -a "doctor" -d 'Look for what is wrong with this host\'s agent, and say what to do about it'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand help; and not __fish_seen_subcommand_from run check-config status logs doctor migrate vitals wait-registered" -f -a "migrate" -d 'Print the settings of the Go agent of this host as settings of this one, and what will be different'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand help; and not __fish_seen_subcommand_from run check-config status logs doctor migrate vitals wait-registered" -f -a "vitals" -d 'Show the vitals of this machine, once or for ever; needs no dashboard'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand help; and not __fish_seen_subcommand_from run check-config status logs doctor migrate vitals wait-registered" -f -a "wait-registered" -d 'Wait until the agent of this host is registered with its dashboard; 1 if that takes too long'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand help; and not __fish_seen_subcommand_from run check-config status logs doctor migrate vitals wait-registered" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand run check-config status logs doctor migrate vitals wait-registered help" -f
