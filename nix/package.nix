# The agent with its units, rules and documents.
#
# There are two layers: ./cargo.nix compiles, and this file copies. So a new commit or a changed unit
# file compiles nothing, and `nixfleet-agent.override { sourceCommit = ".."; }` builds a new package
# within a second.
{
  lib,
  callPackage,
  installShellFiles,
  stdenvNoCC,

  # The commit that the package was built from. The agent reports it to its dashboard.
  sourceCommit ? "unknown",
}:

let
  unwrapped = (callPackage ./cargo.nix { }).agent;
in
stdenvNoCC.mkDerivation {
  pname = "nixfleet-agent";
  inherit (unwrapped) version;

  src = lib.fileset.toSource {
    root = ../dist;
    fileset = ../dist;
  };

  strictDeps = true;
  nativeBuildInputs = [ installShellFiles ];

  inherit sourceCommit;

  installPhase = ''
    runHook preInstall

    install -D --target-directory=$out/bin ${unwrapped}/bin/nixfleet-agent
    # The program looks for this file in its own package.
    mkdir -p $out/share/nixfleet-agent
    echo "$sourceCommit" > $out/share/nixfleet-agent/source-commit

    installManPage man/nixfleet-agent.1
    installShellCompletion --cmd nixfleet-agent \
      --bash completions/nixfleet-agent.bash \
      --fish completions/nixfleet-agent.fish \
      --zsh completions/_nixfleet-agent
  ''
  + lib.optionalString stdenvNoCC.hostPlatform.isLinux ''

    mkdir -p $out/lib/systemd/system
    for unit in systemd/*.service; do
      substitute "$unit" "$out/lib/systemd/system/$(basename "$unit")" \
        --replace-fail /usr/bin/nixfleet-agent $out/bin/nixfleet-agent
    done
    install -D --mode=644 --target-directory=$out/lib/sysusers.d sysusers.d/*.conf
    install -D --mode=644 --target-directory=$out/lib/tmpfiles.d tmpfiles.d/*.conf
    install -D --mode=644 --target-directory=$out/share/polkit-1/rules.d polkit/*.rules
  ''
  + ''

    runHook postInstall
  '';

  # The compiler's output is copied unchanged, because it has been stripped already.
  dontPatchELF = true;
  dontStrip = true;
  # A host needs this copy only.
  disallowedReferences = [ unwrapped ];

  passthru = { inherit unwrapped; };

  meta = unwrapped.meta // {
    description = "NixOS fleet agent: heartbeats that go on while the host rebuilds itself";
    mainProgram = "nixfleet-agent";
  };
}
