# The module on complete hosts, without building or booting one: what it writes, and what it refuses.
# Everything happens during evaluation, so `nix flake check --no-build` runs these tests too.
{
  pkgs,
  lib,
  host,
}:

let
  inherit (import ../check-helpers.nix { inherit pkgs lib; }) named complaintsOf report;

  hosts = import ./hosts.nix {
    inherit
      pkgs
      lib
      host
      named
      complaintsOf
      ;
  };

  # A name in two files is an error.
  tests = lib.foldl' lib.attrsets.unionOfDisjoint { } (
    map (file: import file { inherit pkgs lib hosts; }) [
      ./settings.nix
      ./agent-unit.nix
      ./units.nix
      ./secrets.nix
      ./refusals.nix
      ./hostnames.nix
      ./renamed.nix
    ]
  );
in
report "module-check" "nix/module" tests
