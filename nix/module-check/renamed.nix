# The options of the module that this one replaces.
{ lib, hosts, ... }:

let
  inherit (hosts) with' settingsOf complaints;
in
{
  testRenamedOptions = {
    expr =
      let
        host = with' {
          configRepo = "/srv/fleet";
          repoUrl = "https://git.example.org/fleet.git";
          branch = "stable";
          sshKeyFile = "/run/secrets/fleet-key";
        };
      in
      {
        inherit (settingsOf host) repo;
        # Old name, new name.
        renamed = lib.sort lib.lessThan (
          map (
            text:
            lib.concatStringsSep " -> " (
              builtins.match "The option `services.nixfleet-agent.([a-zA-Z]*)' .* has been renamed to `services.nixfleet-agent.([a-zA-Z.]*)'." text
            )
          ) host.config.warnings
        );
      };
    expected = {
      repo = {
        dir = "/srv/fleet";
        url = "https://git.example.org/fleet.git";
        branch = "stable";
        ssh_key = "/run/secrets/fleet-key";
      };
      renamed = [
        "branch -> repo.branch"
        "configRepo -> repo.dir"
        "repoUrl -> repo.url"
        "sshKeyFile -> repo.sshKeyFile"
      ];
    };
  };

  testRemovedOptions = {
    expr = lib.sort lib.lessThan (
      map (text: lib.last (lib.splitString "no longer has any effect; please remove it. " text)) (
        complaints (with' {
          nixpkgsVersion = "25.11";
          user = "alice";
          version = "3.1.5";
        })
      )
    );
    expected = [
      "The agent has a user of its own, which may do nothing but start jobs; jobs run as root. Remove the option. A checkout that belongs to a person stays theirs: git runs as the owner of the folder."
      "The agent reads the version from the running system. To report another one, set services.nixfleet-agent.settings.nixpkgs_version."
      "The agent reports its own version. To report another one, such as the one that the dashboard expects, set services.nixfleet-agent.settings.reported_version."
    ];
  };
}
