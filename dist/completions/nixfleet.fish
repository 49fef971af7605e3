# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_nixfleet_global_optspecs
    string join \n color= s/server= credentials= nkey= ca= certificate= key= inbox-prefix= c/config= h/help V/version
end

function __fish_nixfleet_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_nixfleet_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_nixfleet_using_subcommand
    set -l cmd (__fish_nixfleet_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c nixfleet -n "__fish_nixfleet_needs_command" -l color -d 'Colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Also into files and pipes'
never\t'Nowhere'"
complete -c nixfleet -n "__fish_nixfleet_needs_command" -s s -l server -d 'Address of a NATS server, such as nats://10.0.0.1:4222; may be given several times' -r
complete -c nixfleet -n "__fish_nixfleet_needs_command" -l credentials -d 'File with credentials: a JWT and the seed of an NKey' -r -F
complete -c nixfleet -n "__fish_nixfleet_needs_command" -l nkey -d 'File with the seed of an NKey' -r -F
complete -c nixfleet -n "__fish_nixfleet_needs_command" -l ca -d 'Certificates to trust in addition' -r -F
complete -c nixfleet -n "__fish_nixfleet_needs_command" -l certificate -d 'Client certificate, with --key' -r -F
complete -c nixfleet -n "__fish_nixfleet_needs_command" -l key -d 'Key of the client certificate' -r -F
complete -c nixfleet -n "__fish_nixfleet_needs_command" -l inbox-prefix -d 'Prefix below which this login reads replies, such as _INBOX_operator' -r
complete -c nixfleet -n "__fish_nixfleet_needs_command" -s c -l config -d 'Settings, instead of the two files' -r -F
complete -c nixfleet -n "__fish_nixfleet_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nixfleet -n "__fish_nixfleet_needs_command" -s V -l version -d 'Print version'
complete -c nixfleet -n "__fish_nixfleet_needs_command" -f -a "hosts" -d 'List hosts'
complete -c nixfleet -n "__fish_nixfleet_needs_command" -f -a "run" -d 'Run a command on hosts, and wait for its end'
complete -c nixfleet -n "__fish_nixfleet_needs_command" -f -a "watch" -d 'Show what happens: hosts that come and go, commands that begin and end'
complete -c nixfleet -n "__fish_nixfleet_needs_command" -f -a "logs" -d 'Show the output of commands of a host'
complete -c nixfleet -n "__fish_nixfleet_needs_command" -f -a "stop" -d 'Stop the running command of hosts'
complete -c nixfleet -n "__fish_nixfleet_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand hosts" -l not-at -d 'Only hosts that are not at this commit, or of which none is known' -r
complete -c nixfleet -n "__fish_nixfleet_using_subcommand hosts" -l sort -d 'The order' -r -f -a "host\t'By name'
state\t'Offline ones first'
since\t'The newest change first'
commit\t'By commit'
agent\t'By version of the agent'
gateway\t'By gateway'"
complete -c nixfleet -n "__fish_nixfleet_using_subcommand hosts" -l color -d 'Colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Also into files and pipes'
never\t'Nowhere'"
complete -c nixfleet -n "__fish_nixfleet_using_subcommand hosts" -s s -l server -d 'Address of a NATS server, such as nats://10.0.0.1:4222; may be given several times' -r
complete -c nixfleet -n "__fish_nixfleet_using_subcommand hosts" -l credentials -d 'File with credentials: a JWT and the seed of an NKey' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand hosts" -l nkey -d 'File with the seed of an NKey' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand hosts" -l ca -d 'Certificates to trust in addition' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand hosts" -l certificate -d 'Client certificate, with --key' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand hosts" -l key -d 'Key of the client certificate' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand hosts" -l inbox-prefix -d 'Prefix below which this login reads replies, such as _INBOX_operator' -r
complete -c nixfleet -n "__fish_nixfleet_using_subcommand hosts" -s c -l config -d 'Settings, instead of the two files' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand hosts" -l offline -d 'Only hosts that are offline'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand hosts" -l online -d 'Only hosts that are online'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand hosts" -l running -d 'Only hosts on which a command runs'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand hosts" -s w -l wide -d 'All columns, however wide the terminal is'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand hosts" -l json -d 'One JSON document'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand hosts" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand run" -l from -d 'File with a name in each line; - is standard input' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand run" -l timeout -d 'How long a host may take, such as 30m' -r
complete -c nixfleet -n "__fish_nixfleet_using_subcommand run" -l canary -d 'Hosts of the first wave: a number, or a part such as 5%' -r
complete -c nixfleet -n "__fish_nixfleet_using_subcommand run" -l then -d 'Hosts of the next wave: a number, 10% or all; may be given several times, and the last one is repeated' -r
complete -c nixfleet -n "__fish_nixfleet_using_subcommand run" -l pause -d 'Time between two waves, such as 30s' -r
complete -c nixfleet -n "__fish_nixfleet_using_subcommand run" -l color -d 'Colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Also into files and pipes'
never\t'Nowhere'"
complete -c nixfleet -n "__fish_nixfleet_using_subcommand run" -s s -l server -d 'Address of a NATS server, such as nats://10.0.0.1:4222; may be given several times' -r
complete -c nixfleet -n "__fish_nixfleet_using_subcommand run" -l credentials -d 'File with credentials: a JWT and the seed of an NKey' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand run" -l nkey -d 'File with the seed of an NKey' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand run" -l ca -d 'Certificates to trust in addition' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand run" -l certificate -d 'Client certificate, with --key' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand run" -l key -d 'Key of the client certificate' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand run" -l inbox-prefix -d 'Prefix below which this login reads replies, such as _INBOX_operator' -r
complete -c nixfleet -n "__fish_nixfleet_using_subcommand run" -s c -l config -d 'Settings, instead of the two files' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand run" -l all -d 'All hosts'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand run" -l online -d 'Only hosts that are online; the others are not counted'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand run" -s y -l yes -d 'No question before hosts are asked that are not named one by one'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand run" -s f -l follow -d 'Show the lines of the command as they come'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand run" -l no-wait -d 'Do not wait for the ends'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand run" -l json -d 'A JSON object in each line'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand run" -l stop-on-failure -d 'Start no further wave after one in which a host did not end well'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand watch" -l color -d 'Colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Also into files and pipes'
never\t'Nowhere'"
complete -c nixfleet -n "__fish_nixfleet_using_subcommand watch" -s s -l server -d 'Address of a NATS server, such as nats://10.0.0.1:4222; may be given several times' -r
complete -c nixfleet -n "__fish_nixfleet_using_subcommand watch" -l credentials -d 'File with credentials: a JWT and the seed of an NKey' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand watch" -l nkey -d 'File with the seed of an NKey' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand watch" -l ca -d 'Certificates to trust in addition' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand watch" -l certificate -d 'Client certificate, with --key' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand watch" -l key -d 'Key of the client certificate' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand watch" -l inbox-prefix -d 'Prefix below which this login reads replies, such as _INBOX_operator' -r
complete -c nixfleet -n "__fish_nixfleet_using_subcommand watch" -s c -l config -d 'Settings, instead of the two files' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand watch" -l json -d 'A JSON object in each line'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand watch" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand logs" -l job -d 'This job, or the only one whose id begins or ends so; without it, the newest one' -r
complete -c nixfleet -n "__fish_nixfleet_using_subcommand logs" -l since -d 'All jobs of this time, such as 1h' -r
complete -c nixfleet -n "__fish_nixfleet_using_subcommand logs" -l color -d 'Colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Also into files and pipes'
never\t'Nowhere'"
complete -c nixfleet -n "__fish_nixfleet_using_subcommand logs" -s s -l server -d 'Address of a NATS server, such as nats://10.0.0.1:4222; may be given several times' -r
complete -c nixfleet -n "__fish_nixfleet_using_subcommand logs" -l credentials -d 'File with credentials: a JWT and the seed of an NKey' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand logs" -l nkey -d 'File with the seed of an NKey' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand logs" -l ca -d 'Certificates to trust in addition' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand logs" -l certificate -d 'Client certificate, with --key' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand logs" -l key -d 'Key of the client certificate' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand logs" -l inbox-prefix -d 'Prefix below which this login reads replies, such as _INBOX_operator' -r
complete -c nixfleet -n "__fish_nixfleet_using_subcommand logs" -s c -l config -d 'Settings, instead of the two files' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand logs" -s t -l times -d 'The time in front of each line'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand logs" -s f -l follow -d 'Go on: up to the end of the job, or with --since for ever'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand logs" -l json -d 'A JSON object in each line'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand logs" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand stop" -l from -d 'File with a name in each line; - is standard input' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand stop" -l timeout -d 'How long to wait for the end' -r
complete -c nixfleet -n "__fish_nixfleet_using_subcommand stop" -l color -d 'Colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Also into files and pipes'
never\t'Nowhere'"
complete -c nixfleet -n "__fish_nixfleet_using_subcommand stop" -s s -l server -d 'Address of a NATS server, such as nats://10.0.0.1:4222; may be given several times' -r
complete -c nixfleet -n "__fish_nixfleet_using_subcommand stop" -l credentials -d 'File with credentials: a JWT and the seed of an NKey' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand stop" -l nkey -d 'File with the seed of an NKey' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand stop" -l ca -d 'Certificates to trust in addition' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand stop" -l certificate -d 'Client certificate, with --key' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand stop" -l key -d 'Key of the client certificate' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand stop" -l inbox-prefix -d 'Prefix below which this login reads replies, such as _INBOX_operator' -r
complete -c nixfleet -n "__fish_nixfleet_using_subcommand stop" -s c -l config -d 'Settings, instead of the two files' -r -F
complete -c nixfleet -n "__fish_nixfleet_using_subcommand stop" -l all -d 'All hosts'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand stop" -l online -d 'Only hosts that are online; the others are not counted'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand stop" -s y -l yes -d 'No question before hosts are asked that are not named one by one'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand stop" -l kill -d 'End it at once, also in the middle of an activation'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand stop" -l json -d 'A JSON object in each line'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand stop" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand help; and not __fish_seen_subcommand_from hosts run watch logs stop help" -f -a "hosts" -d 'List hosts'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand help; and not __fish_seen_subcommand_from hosts run watch logs stop help" -f -a "run" -d 'Run a command on hosts, and wait for its end'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand help; and not __fish_seen_subcommand_from hosts run watch logs stop help" -f -a "watch" -d 'Show what happens: hosts that come and go, commands that begin and end'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand help; and not __fish_seen_subcommand_from hosts run watch logs stop help" -f -a "logs" -d 'Show the output of commands of a host'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand help; and not __fish_seen_subcommand_from hosts run watch logs stop help" -f -a "stop" -d 'Stop the running command of hosts'
complete -c nixfleet -n "__fish_nixfleet_using_subcommand help; and not __fish_seen_subcommand_from hosts run watch logs stop help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
