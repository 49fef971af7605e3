# The common part of all tests: a dashboard, a host with an agent, and a long time limit. Each test adds
# its own settings to `nodes.host`.
{ self }:
{
  # The scripts wait for states, so a long limit costs nothing on a fast machine. Under emulation a boot
  # takes a minute, and so does a switch.
  globalTimeout = 3600;

  defaults = {
    # Small and quick to boot.
    documentation.enable = false;
    networking.firewall.enable = false;
  };

  nodes.dashboard.imports = [ (import ./dashboard.nix { inherit self; }) ];
  nodes.host.imports = [ (import ./host.nix { inherit self; }) ];
}
