# The mock dashboard, which the other machine can reach, and what lib/fleet.py queries it with.
{ self }:
{ pkgs, ... }:
let
  packages = self.packages.${pkgs.stdenv.hostPlatform.system};
in
{
  imports = [ ./token.nix ];

  environment.systemPackages = [
    pkgs.curl
    pkgs.gzip
    pkgs.iproute2
  ];

  systemd.services.nixfleet-mock-dashboard = {
    description = "NixFleet mock dashboard";
    wantedBy = [ "multi-user.target" ];
    after = [ "network.target" ];
    # [::] means all addresses, IPv4 included. The CSRF token is the one in lib/fleet.py.
    serviceConfig.ExecStart = toString [
      "${packages.nixfleet-mock-dashboard}/bin/nixfleet-mock-dashboard"
      "--listen [::]:8000"
      "--allow-host dashboard"
      "--token-file /run/nixfleet-token"
      "--csrf-token csrf"
    ];
  };
}
