{
  description = "NixOS fleet agent: heartbeats that go on while the host rebuilds itself";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;

      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "aarch64-darwin"
        "x86_64-darwin"
      ];
      eachSystem = make: lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
      systemOf = pkgs: pkgs.stdenv.hostPlatform.system;

      packages = pkgs: {
        nixfleet-agent = pkgs.callPackage ./nix/package.nix {
          # No commit describes a tree with uncommitted changes.
          sourceCommit = self.rev or "unknown";
        };
        nixfleet-cli = pkgs.callPackage ./nix/cli/package.nix { };
        nixfleet-gateway = pkgs.callPackage ./nix/gateway/package.nix { };
        nixfleet-dashboard = pkgs.callPackage ./nix/dashboard/package.nix { };
        nixfleet-mock-dashboard = (pkgs.callPackage ./nix/cargo.nix { }).mock-dashboard;
      };
    in
    {
      packages = eachSystem (
        pkgs:
        let
          own = packages pkgs;
        in
        own
        // {
          default = own.nixfleet-agent;
          docs = pkgs.callPackage ./nix/docs.nix { };
        }
      );

      apps = eachSystem (
        pkgs:
        let
          own = self.packages.${systemOf pkgs};
          app = program: description: {
            type = "app";
            inherit program;
            meta = { inherit description; };
          };
          # What its scripts need. Appended, so that what is already on PATH takes precedence.
          demoPath = lib.makeBinPath [
            pkgs.coreutils
            pkgs.gitMinimal
            pkgs.gnugrep
            pkgs.gnused
          ];
          demo = pkgs.writeShellScript "nixfleet-demo" ''
            export PATH="$PATH:${demoPath}"
            exec ${lib.getExe own.nixfleet-mock-dashboard} demo --agent ${lib.getExe own.nixfleet-agent} "$@"
          '';
        in
        {
          default = app (lib.getExe own.nixfleet-agent) "Run the agent";
          demo = app "${demo}" "Show all of it on this machine";
        }
      );

      overlays.default = final: _: packages final;

      nixosModules = {
        default = self.nixosModules.nixfleet-agent;
        nixfleet-agent =
          { pkgs, ... }:
          {
            _file = ./flake.nix;
            # With a key, a configuration may import the module twice.
            key = "nixfleet-agent.nixosModules.nixfleet-agent";
            imports = [ ./nix/module ];
            # The package that the checks tested, whatever nixpkgs the host uses.
            services.nixfleet-agent.package = lib.mkDefault self.packages.${systemOf pkgs}.nixfleet-agent;
          };
      };

      nixosModules.nixfleet-gateway =
        { pkgs, ... }:
        {
          _file = ./flake.nix;
          key = "nixfleet-agent.nixosModules.nixfleet-gateway";
          imports = [ ./nix/gateway ];
          services.nixfleet-gateway.package = lib.mkDefault self.packages.${systemOf pkgs}.nixfleet-gateway;
        };

      nixosModules.nixfleet-dashboard =
        { pkgs, ... }:
        {
          _file = ./flake.nix;
          key = "nixfleet-agent.nixosModules.nixfleet-dashboard";
          imports = [ ./nix/dashboard ];
          services.nixfleet-dashboard.package = lib.mkDefault self.packages.${systemOf pkgs}.nixfleet-dashboard;
        };

      homeManagerModules = {
        default = self.homeManagerModules.nixfleet-agent;
        nixfleet-agent =
          { pkgs, ... }:
          {
            _file = ./flake.nix;
            key = "nixfleet-agent.homeManagerModules.nixfleet-agent";
            imports = [ ./nix/home-manager.nix ];
            services.nixfleet-agent.package = lib.mkDefault self.packages.${systemOf pkgs}.nixfleet-agent;
          };
      };

      checks = eachSystem (pkgs: import ./nix/checks.nix { inherit self nixpkgs pkgs; });

      devShells = eachSystem (pkgs: {
        default = pkgs.mkShell {
          packages = [
            pkgs.cargo
            pkgs.clippy
            pkgs.gitMinimal
            pkgs.rust-analyzer
            pkgs.rustc
            pkgs.rustfmt
            self.formatter.${systemOf pkgs}
          ];
          env.RUST_SRC_PATH = "${pkgs.rustPlatform.rustLibSrc}";
        };
      });

      formatter = eachSystem (pkgs: pkgs.nixfmt-tree);
    };
}
