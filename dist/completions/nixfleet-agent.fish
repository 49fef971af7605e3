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
complete -c nixfleet-agent -n "__fish_nixfleet_agent_needs_command" -f -a "run" -d 'Run the agent (the default)'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_needs_command" -f -a "check-config" -d 'Check the configuration and exit: 0 if it is good, 64 with one line for each problem'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand run" -s c -l config -d 'Configuration file; without it /etc/nixfleet/agent.toml is read if it exists' -r -F
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand run" -s h -l help -d 'Print help'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand check-config" -s c -l config -d 'Configuration file; without it /etc/nixfleet/agent.toml is read if it exists' -r -F
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand check-config" -s h -l help -d 'Print help'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand help; and not __fish_seen_subcommand_from run check-config help" -f -a "run" -d 'Run the agent (the default)'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand help; and not __fish_seen_subcommand_from run check-config help" -f -a "check-config" -d 'Check the configuration and exit: 0 if it is good, 64 with one line for each problem'
complete -c nixfleet-agent -n "__fish_nixfleet_agent_using_subcommand help; and not __fish_seen_subcommand_from run check-config help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
