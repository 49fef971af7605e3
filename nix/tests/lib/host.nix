# A host of the fleet.
{ self }:
{ lib, ... }:
{
  imports = [
    self.nixosModules.default
    ./token.nix
  ];

  services.nixfleet-agent = {
    enable = true;
    url = "ws://dashboard:8000/ws";
    tokenFile = "/run/nixfleet-token";
    # The shortest possible interval.
    interval = 1;
    # The test uses ws:// between two machines.
    settings.allow_insecure = true;
  };

  # Heartbeats report its first seven digits as the generation.
  system.configurationRevision = lib.mkDefault "0123456789abcdef0123456789abcdef01234567";
}
