# The gateway with its unit. ../cargo.nix compiles, and this file copies.
{
  callPackage,
  installShellFiles,
  lib,
  stdenvNoCC,
}:

let
  unwrapped = (callPackage ../cargo.nix { }).gateway;
in
stdenvNoCC.mkDerivation {
  pname = "nixfleet-gateway";
  inherit (unwrapped) version;

  src = lib.fileset.toSource {
    root = ../../dist;
    fileset = lib.fileset.unions [
      ../../dist/gateway
      ../../dist/man/nixfleet-gateway.1
    ];
  };

  nativeBuildInputs = [ installShellFiles ];

  installPhase = ''
    runHook preInstall
    install -D --target-directory=$out/bin ${unwrapped}/bin/nixfleet-gateway
    installManPage man/nixfleet-gateway.1
    mkdir -p $out/lib/systemd/system
    substitute gateway/nixfleet-gateway.service $out/lib/systemd/system/nixfleet-gateway.service \
      --replace-fail /usr/bin/nixfleet-gateway $out/bin/nixfleet-gateway
    runHook postInstall
  '';

  # The compiler's output is copied unchanged, because it has been stripped already.
  dontPatchELF = true;
  dontStrip = true;
  disallowedReferences = [ unwrapped ];

  passthru = { inherit unwrapped; };
  inherit (unwrapped) meta;
}
