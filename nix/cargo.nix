# Everything that cargo does: the programs, the tests, the lints.
{
  lib,
  rustPlatform,
  clippy,
  curl,
  gitMinimal,
  nats-server,
  openssl,
  procps,
  rustfmt,
  stdenv,
}:

let
  manifest = lib.importTOML ../Cargo.toml;

  # Only the files that cargo reads, so that a change of a document compiles nothing. Only `tests` adds
  # the tests of the crates and the files that they read.
  testFiles = lib.fileset.unions (
    map lib.fileset.maybeMissing [
      ../crates/cli/tests
      ../crates/console/tests
      ../crates/fleet/tests
      ../crates/gateway/tests
      ../crates/jobs/tests
      ../crates/mock-dashboard/tests
      ../crates/protocol/schema
      ../crates/protocol/tests
      ../crates/testbed/tests
      ../crates/vitals/tests
    ]
  );
  source =
    paths:
    lib.fileset.toSource {
      root = ../.;
      fileset = lib.fileset.unions (
        [
          ../Cargo.lock
          ../Cargo.toml
          ../src
          ../xtask
          (lib.fileset.difference ../crates testFiles)
        ]
        ++ paths
      );
    };

  common = {
    inherit (manifest.workspace.package) version;
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
    package: arguments:
    rustPlatform.buildRustPackage (
      lib.recursiveUpdate common (
        {
          src = source [ ];
          cargoBuildFlags = [
            "--package"
            package
          ];
          # cargo requires the file of every benchmark to exist, whatever it builds. An empty file never
          # changes.
          postPatch = ''
            mkdir benches
            touch ${lib.concatMapStringsSep " " (bench: "benches/${bench.name}.rs") manifest.bench}
          '';
          # `tests` below runs the tests, once for all programs.
          doCheck = false;
        }
        // arguments
      )
    );

  # A derivation that succeeds or fails, and builds nothing.
  verdict =
    arguments:
    rustPlatform.buildRustPackage (
      common
      // {
        src = source [
          # The tests read all documents, and what they link to.
          ../ARCHITECTURE.md
          ../CHANGELOG.md
          ../CONTRIBUTING.md
          ../LICENSE-APACHE
          ../LICENSE-MIT
          ../README.md
          ../SECURITY.md
          ../benches
          ../clippy.toml
          ../crates
          ../dist
          ../docs
          ../justfile
          (lib.fileset.maybeMissing ../.ci)
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
  # The agent as it is installed on hosts; ./package.nix adds the other files.
  agent = program "nixfleet-agent" {
    pname = "nixfleet-agent-unwrapped";
    # Relocations as a bitmap: 160 kB less. They need glibc 2.36. Only a package can promise that,
    # because it brings its C library: what cargo builds must start on older systems, too.
    env = lib.optionalAttrs stdenv.hostPlatform.isGnu { NIX_LDFLAGS = "-z pack-relative-relocs"; };
    # nixpkgs turns off the profile's `strip`, and by itself removes debugging information only. Without
    # the symbols the program is 1.3 MB smaller, like what cargo builds.
    stripAllList = lib.optional stdenv.hostPlatform.isElf "bin";
    meta.mainProgram = "nixfleet-agent";
  };

  # The dashboard for tests and for the demo.
  mock-dashboard = program "nixfleet-mock-dashboard" {
    pname = "nixfleet-mock-dashboard";
    src = source [ ../crates/vitals/tests/fixtures/gpu/nvml.c ];
    # What stands in for NVIDIA's library in tests. The demo has one GPU more with it.
    postInstall = lib.optionalString stdenv.hostPlatform.isLinux ''
      mkdir -p $out/lib
      $CC -shared -fPIC -o $out/lib/nvml-stand-in.so crates/vitals/tests/fixtures/gpu/nvml.c -ldl
    '';
    meta = {
      description = "Dashboard in memory, to test nixfleet-agent against";
      mainProgram = "nixfleet-mock-dashboard";
    };
  };

  # Between agents and NATS. ./gateway/package.nix adds its unit.
  gateway = program "nixfleet-gateway" {
    pname = "nixfleet-gateway-unwrapped";
    meta = {
      description = "Gateway between NixFleet agents and NATS";
      mainProgram = "nixfleet-gateway";
    };
  };

  # What people see of the fleet in NATS. ./dashboard/package.nix adds its unit.
  dashboard = program "nixfleet-console" {
    pname = "nixfleet-dashboard-unwrapped";
    meta = {
      description = "Dashboard of a NixFleet fleet that is kept in NATS";
      mainProgram = "nixfleet-dashboard";
    };
  };

  # For people who command a fleet. ./cli/package.nix adds its man page and completions.
  cli = program "nixfleet-cli" {
    pname = "nixfleet-cli-unwrapped";
    meta = {
      description = "Command line for a NixFleet fleet that is kept in NATS";
      mainProgram = "nixfleet";
    };
  };

  tests = verdict {
    pname = "nixfleet-agent-tests";
    # Optimizing takes longer than running the tests.
    checkType = "debug";
    nativeCheckInputs = [
      curl
      gitMinimal
      nats-server
      openssl
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
      cargo clippy --offline --package nixfleet-agent --lib --bins -- -D warnings
      runHook postCheck
    '';
  };
}
