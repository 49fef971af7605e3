# The mock dashboard, which the other machine can reach, and curl to query it.
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
    # [::] means all addresses, IPv4 included. The CSRF token is the one in lib/fleet.py.
    serviceConfig.ExecStart = toString [
      "${packages.nixfleet-mock-dashboard}/bin/nixfleet-mock-dashboard"
      "--listen [::]:8000"
      "--token-file /run/nixfleet-token"
      "--csrf-token csrf"
    ];
  };
}
