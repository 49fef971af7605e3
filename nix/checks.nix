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
  largestProgram = (lib.importTOML ../Cargo.toml).workspace.metadata.size.largest-program;

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

  # Each file is a test, as lib/fleet.nix describes. Folders hold what the tests share.
  fleetTests =
    lib.mapAttrs'
      (file: _: {
        name = lib.removeSuffix ".nix" file;
        value = import (./tests + "/${file}") { inherit self pkgs lib; };
      })
      (
        lib.filterAttrs (file: type: type == "regular" && lib.hasSuffix ".nix" file) (
          builtins.readDir ./tests
        )
      );

  fleet = import ./tests/lib/fleet.nix { inherit self lib; };

  # Containers need NixOS 26.05 or later: older test drivers have virtual machines only.
  containersExist =
    (pkgs.testers.runNixOSTest {
      name = "nothing";
      testScript = "";
    }).config
      ? containers;

  runnable = {
    vm = fleetTests;
    container = lib.optionalAttrs containersExist (
      lib.filterAttrs (_: test: !test ? vmOnly) fleetTests
    );
  };

  # vm-heartbeat, container-heartbeat and so on.
  machineTests = lib.concatMapAttrs (
    form: tests:
    lib.mapAttrs' (name: test: {
      name = "${form}-${name}";
      value = pkgs.testers.runNixOSTest (fleet {
        inherit name form test;
      });
    }) tests
  ) runnable;
in
{
  package = own.nixfleet-agent;
  cli = own.nixfleet-cli;
  gateway = own.nixfleet-gateway;
  dashboard = own.nixfleet-dashboard;
  mock-dashboard = own.nixfleet-mock-dashboard;
  inherit (own) docs;
  inherit (cargo) tests lints;
}
// lib.optionalAttrs pkgs.stdenv.hostPlatform.isLinux (
  {
    # The linker of Nix is another one than cargo's own, so the program has another size.
    size = pkgs.runCommand "nixfleet-agent-size" { } ''
      size=$(stat -L -c %s ${own.nixfleet-agent}/bin/nixfleet-agent)
      echo "nixfleet-agent has $size bytes of at most ${toString largestProgram}"
      if ((size > ${toString largestProgram})); then
        echo "it is larger than \"largest-program\" in Cargo.toml allows; cargo xtask size shows how to find what grew" >&2
        exit 1
      fi
      touch $out
    '';
    module = import ./module-check { inherit pkgs lib host; };
    home-module = import ./home-check.nix {
      inherit pkgs lib;
      darwinPkgs = nixpkgs.legacyPackages.aarch64-darwin;
    };
    vm-gateway = pkgs.testers.runNixOSTest (import ./gateway/test.nix { inherit self pkgs; });
    options-doc = import ./options-doc.nix { inherit pkgs lib host; };
  }
  // machineTests
)
