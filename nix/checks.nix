# What `nix flake check` runs.
{
  self,
  nixpkgs,
  pkgs,
}:

let
  inherit (nixpkgs) lib;

  own = self.packages.${pkgs.stdenv.hostPlatform.system};
  cargo = pkgs.callPackage ./cargo.nix { };

  # A host with the module and the minimum that NixOS requires. It uses the nixpkgs of this flake, which
  # evaluates a second faster than an instance of its own.
  host =
    module:
    lib.nixosSystem {
      modules = [
        self.nixosModules.default
        {
          nixpkgs.pkgs = pkgs;
          system.stateVersion = lib.trivial.release;
          boot.loader.grub.enable = false;
          fileSystems."/" = {
            device = "/dev/vda";
            fsType = "ext4";
          };
        }
        module
      ];
    };

  # Each file is a test: a function that returns a module for runNixOSTest. Folders hold what the tests
  # share.
  vmTests = lib.mapAttrs' (file: _: {
    name = "vm-${lib.removeSuffix ".nix" file}";
    value = pkgs.testers.runNixOSTest (import (./tests + "/${file}") { inherit self pkgs lib; });
  }) (lib.filterAttrs (file: type: type == "regular" && lib.hasSuffix ".nix" file) testFiles);

  testFiles = lib.optionalAttrs (lib.pathExists ./tests) (builtins.readDir ./tests);
in
{
  package = own.nixfleet-agent;
  mock-dashboard = own.nixfleet-mock-dashboard;
  inherit (cargo) tests lints;
}
// lib.optionalAttrs pkgs.stdenv.hostPlatform.isLinux (
  {
    module = import ./module-check.nix { inherit pkgs lib host; };
    options-doc = import ./options-doc.nix { inherit pkgs lib host; };
  }
  // vmTests
)
