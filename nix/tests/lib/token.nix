# The token that agent and dashboard share. It is made when the machine starts, so no part of it is in
# the Nix store unless a mistake puts it there.
{ pkgs, ... }:
let
  users = [
    "nixfleet-agent.service"
    "nixfleet-mock-dashboard.service"
  ];
in
{
  systemd.services.nixfleet-token = {
    description = "Token of the test fleet";
    before = users;
    requiredBy = users;
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
      UMask = "0077";
    };
    path = [ pkgs.coreutils ];
    script = "echo 'a fleet of one' | sha256sum | cut -d ' ' -f 1 > /run/nixfleet-token";
  };
}
