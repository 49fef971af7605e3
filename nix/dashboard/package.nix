# The dashboard with its unit. ../cargo.nix compiles, and this file copies.
{
  callPackage,
  lib,
  stdenvNoCC,
}:

let
  unwrapped = (callPackage ../cargo.nix { }).dashboard;
in
stdenvNoCC.mkDerivation {
  pname = "nixfleet-dashboard";
  inherit (unwrapped) version;

  src = lib.fileset.toSource {
    root = ../../dist/dashboard;
    fileset = ../../dist/dashboard;
  };

  installPhase = ''
    runHook preInstall
    install -D --target-directory=$out/bin ${unwrapped}/bin/nixfleet-dashboard
    mkdir -p $out/lib/systemd/system
    substitute nixfleet-dashboard.service $out/lib/systemd/system/nixfleet-dashboard.service \
      --replace-fail /usr/bin/nixfleet-dashboard $out/bin/nixfleet-dashboard
    runHook postInstall
  '';

  # The compiler's output is copied unchanged, because it has been stripped already.
  dontPatchELF = true;
  dontStrip = true;
  disallowedReferences = [ unwrapped ];

  passthru = { inherit unwrapped; };
  inherit (unwrapped) meta;
}
