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
    # The shortest interval there is.
    interval = 1;
    # ws:// between two machines.
    settings.allow_insecure = true;
  };

  # What heartbeats tell as the generation: its first seven digits.
  system.configurationRevision = lib.mkDefault "0123456789abcdef0123456789abcdef01234567";
}
