# services.nixfleet-agent.
#
# The units are the package's files, the same as on every other distribution. This module writes the
# configuration, and adds to the units what depends on the host.
{
  imports = [
    ./options.nix
    ./settings.nix
    ./assertions.nix
    ./service.nix
    ./rollback.nix
    ./boot-complete.nix
    ./heartbeat.nix
    ./renamed.nix
  ];
}
