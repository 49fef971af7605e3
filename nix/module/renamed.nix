# The names of the options in the module that this one replaces.
{ lib, ... }:

let
  at = option: [
    "services"
    "nixfleet-agent"
    option
  ];
  inRepo = option: at "repo" ++ [ option ];
in
{
  imports = [
    (lib.mkRenamedOptionModule (at "configRepo") (inRepo "dir"))
    (lib.mkRenamedOptionModule (at "repoUrl") (inRepo "url"))
    (lib.mkRenamedOptionModule (at "branch") (inRepo "branch"))
    (lib.mkRenamedOptionModule (at "sshKeyFile") (inRepo "sshKeyFile"))
    (lib.mkRemovedOptionModule (at "nixpkgsVersion") ''
      The agent reads the version from the running system. To report another one, set
      services.nixfleet-agent.settings.nixpkgs_version.
    '')
    (lib.mkRemovedOptionModule (at "version") ''
      The agent reports its own version. To report another one, such as the one that the dashboard
      expects, set services.nixfleet-agent.settings.reported_version.
    '')
    (lib.mkRemovedOptionModule (at "user") ''
      The agent has a user of its own, which may do nothing but start jobs; jobs run as root. Remove the
      option. A checkout that belongs to a person stays theirs: git runs as the owner of the folder.
    '')
  ];
}
