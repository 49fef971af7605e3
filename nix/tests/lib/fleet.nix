# What every test starts from: a dashboard, a host with an agent, and time enough.
# A test adds to `nodes.host` what it is about.
{ self }:
{
  # The scripts wait for what they expect, so a long limit costs nothing on a fast machine. Under
  # emulation a boot takes a minute and a switch another.
  globalTimeout = 3600;

  defaults = {
    # Small and quick to boot.
    documentation.enable = false;
    networking.firewall.enable = false;
  };

  nodes.dashboard.imports = [ (import ./dashboard.nix { inherit self; }) ];
  nodes.host.imports = [ (import ./host.nix { inherit self; }) ];
}
