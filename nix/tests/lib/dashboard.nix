# The mock dashboard, reachable from the other machine, and curl to ask it with.
{ self }:
{ pkgs, ... }:
let
  packages = self.packages.${pkgs.stdenv.hostPlatform.system};
in
{
  imports = [ ./token.nix ];

  environment.systemPackages = [ pkgs.curl ];

  systemd.services.nixfleet-mock-dashboard = {
    description = "NixFleet mock dashboard";
    wantedBy = [ "multi-user.target" ];
    after = [ "network.target" ];
    # [::] is all addresses, of IPv4 as well. The CSRF token is that of lib/fleet.py.
    serviceConfig.ExecStart = toString [
      "${packages.nixfleet-mock-dashboard}/bin/nixfleet-mock-dashboard"
      "--listen [::]:8000"
      "--token-file /run/nixfleet-token"
      "--csrf-token csrf"
    ];
  };
}
