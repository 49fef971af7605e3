# The agent with its units, rules and documents.
#
# Two layers: ./cargo.nix compiles, this one copies. So neither a new commit nor another unit file
# compiles anything, and `nixfleet-agent.override { sourceCommit = ".."; }` is a new package within a second.
{
  lib,
  callPackage,
  installShellFiles,
  stdenvNoCC,

  # What the agent tells its dashboard: the commit it was made from.
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
    # The program looks for it beside itself.
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

  # The compiler's output is copied as it is: it has been stripped already.
  dontPatchELF = true;
  dontStrip = true;
  # A host needs this copy alone.
  disallowedReferences = [ unwrapped ];

  passthru = { inherit unwrapped; };

  meta = unwrapped.meta // {
    description = "NixOS fleet agent: heartbeats that go on while the host rebuilds itself";
    mainProgram = "nixfleet-agent";
  };
}
