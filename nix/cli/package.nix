# The command line of a fleet, with its man page and completions. ../cargo.nix compiles, and this file copies.
{
  callPackage,
  installShellFiles,
  lib,
  stdenvNoCC,
}:

let
  unwrapped = (callPackage ../cargo.nix { }).cli;
in
stdenvNoCC.mkDerivation {
  pname = "nixfleet-cli";
  inherit (unwrapped) version;

  src = lib.fileset.toSource {
    root = ../../dist;
    fileset = lib.fileset.unions [
      ../../dist/completions/_nixfleet
      ../../dist/completions/nixfleet.bash
      ../../dist/completions/nixfleet.fish
      ../../dist/man/nixfleet.1
    ];
  };

  strictDeps = true;
  nativeBuildInputs = [ installShellFiles ];

  installPhase = ''
    runHook preInstall
    install -D --target-directory=$out/bin ${unwrapped}/bin/nixfleet
    installManPage man/nixfleet.1
    installShellCompletion --cmd nixfleet \
      --bash completions/nixfleet.bash \
      --fish completions/nixfleet.fish \
      --zsh completions/_nixfleet
    runHook postInstall
  '';

  # The compiler's output is copied unchanged, because it has been stripped already.
  dontPatchELF = true;
  dontStrip = true;
  disallowedReferences = [ unwrapped ];

  passthru = { inherit unwrapped; };
  inherit (unwrapped) meta;
}
