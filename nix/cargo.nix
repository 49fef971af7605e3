# Everything that cargo does: the two programs, the tests, the lints.
{
  lib,
  rustPlatform,
  clippy,
  gitMinimal,
  procps,
  rustfmt,
}:

let
  manifest = lib.importTOML ../Cargo.toml;

  # Only what cargo reads, so that a new sentence in a document compiles nothing.
  source =
    paths:
    lib.fileset.toSource {
      root = ../.;
      fileset = lib.fileset.unions (
        [
          ../Cargo.lock
          ../Cargo.toml
          ../src
        ]
        ++ paths
      );
    };

  common = {
    inherit (manifest.package) version;
    cargoLock.lockFile = ../Cargo.lock;
    strictDeps = true;
    meta = {
      license = with lib.licenses; [
        mit
        asl20
      ];
      platforms = lib.platforms.linux ++ lib.platforms.darwin;
    };
  };

  program =
    arguments:
    rustPlatform.buildRustPackage (
      lib.recursiveUpdate common (
        {
          src = source [ ];
          # Cargo wants the file of every benchmark to exist, whatever it builds. An empty one never
          # changes.
          postPatch = ''
            mkdir benches
            touch ${lib.concatMapStringsSep " " (bench: "benches/${bench.name}.rs") manifest.bench}
          '';
          # `tests` below runs them, once for both programs.
          doCheck = false;
        }
        // arguments
      )
    );

  # A derivation that ends well or badly, and builds nothing.
  verdict =
    arguments:
    rustPlatform.buildRustPackage (
      common
      // {
        src = source [
          ../README.md
          ../benches
          ../clippy.toml
          ../dist
          ../examples
          ../rustfmt.toml
          ../tests
        ];
        dontBuild = true;
        installPhase = "touch $out";
        dontFixup = true;
      }
      // arguments
    );
in
{
  # The agent as hosts get it; ./package.nix adds what belongs around it.
  agent = program {
    pname = "nixfleet-agent-unwrapped";
    buildNoDefaultFeatures = true;
    buildFeatures = [ "nvml" ];
    meta.mainProgram = "nixfleet-agent";
  };

  # The dashboard for tests. Its agent, the one with the demo, is not on anybody's PATH.
  mock-dashboard = program {
    pname = "nixfleet-mock-dashboard";
    buildFeatures = [ "mock-dashboard" ];
    postInstall = ''
      mkdir $out/libexec
      mv $out/bin/nixfleet-agent $out/libexec
    '';
    meta = {
      description = "Dashboard in memory, to test nixfleet-agent against";
      mainProgram = "nixfleet-mock-dashboard";
    };
  };

  tests = verdict {
    pname = "nixfleet-agent-tests";
    # Optimizing takes longer than the tests do.
    checkType = "debug";
    nativeCheckInputs = [
      gitMinimal
      procps
    ];
    preCheck = ''
      export HOME="$TMPDIR"
    '';
  };

  lints = verdict {
    pname = "nixfleet-agent-lints";
    nativeBuildInputs = [
      clippy
      rustfmt
    ];
    checkPhase = ''
      runHook preCheck
      cargo fmt --check
      cargo clippy --offline --all-targets -- -D warnings
      cargo clippy --offline --lib --bins --no-default-features --features nvml -- -D warnings
      runHook postCheck
    '';
  };
}
