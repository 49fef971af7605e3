# The Home Manager module, without building anything. Home Manager is no input of this flake, so its options
# that the module sets are declared here, with their types there.
{
  pkgs,
  darwinPkgs,
  lib,
}:

let
  inherit (import ./check-helpers.nix { inherit pkgs lib; }) named complaintsOf report;

  # -- Home Manager --

  primitive =
    with lib.types;
    oneOf [
      bool
      int
      str
      path
    ];
  option = type: default: lib.mkOption { inherit type default; };

  homeManager =
    { config, pkgs, ... }:
    {
      options = with lib.types; {
        assertions = option (listOf unspecified) [ ];
        home = {
          username = option str "alice";
          homeDirectory = option path (
            if pkgs.stdenv.hostPlatform.isDarwin then "/Users/alice" else "/home/alice"
          );
          profileDirectory = option path "${config.home.homeDirectory}/.nix-profile";
          packages = option (listOf package) [ ];
          sessionVariables = option (lazyAttrsOf (oneOf [
            str
            path
            int
            float
            bool
          ])) { };
        };
        xdg.stateHome = option path "${config.home.homeDirectory}/.local/state";
        systemd.user.services = option (attrsOf (
          attrsOf (attrsOf (either primitive (listOf primitive)))
        )) { };
        # Only the keys of launchd.plist(5) that exist: a mistyped one is an error, as it is there.
        launchd.agents = option (attrsOf (submodule {
          options = {
            enable = option bool false;
            config = option (submodule {
              options = {
                ProgramArguments = option (listOf str) [ ];
                EnvironmentVariables = option (attrsOf str) { };
                RunAtLoad = option bool false;
                KeepAlive = option bool false;
                ThrottleInterval = option int 10;
                AbandonProcessGroup = option bool false;
                ProcessType = option (enum [
                  "Background"
                  "Standard"
                  "Adaptive"
                  "Interactive"
                ]) "Standard";
                SoftResourceLimits = option (attrsOf int) { };
                Umask = option int 18;
                StandardErrorPath = option path "/dev/null";
              };
            }) { };
          };
        })) { };
      };
    };

  # -- Homes --

  home =
    pkgs: settings:
    (lib.evalModules {
      modules = [
        homeManager
        ./home-manager.nix
        {
          _module.args = { inherit pkgs; };
          services.nixfleet-agent = settings;
        }
      ];
    }).config;

  minimal = {
    enable = true;
    url = "wss://fleet.example.org/ws";
    tokenFile = "/home/alice/.config/nixfleet/token";
  };
  linux = home pkgs minimal;
  mac = home darwinPkgs minimal;

  # -- Tests --

  tests = {
    testLinuxSettings = {
      expr = linux.services.nixfleet-agent.settings;
      expected = {
        url = "wss://fleet.example.org/ws";
        token_file = "/home/alice/.config/nixfleet/token";
        state_dir = "/home/alice/.local/state/nixfleet-agent";
        rebuild = {
          program = [ "home-manager" ];
          flake_attr = "alice";
        };
      };
    };

    # There the agent itself runs home-manager.
    testMacSettings = {
      expr = mac.services.nixfleet-agent.settings;
      expected = {
        url = "wss://fleet.example.org/ws";
        token_file = "/home/alice/.config/nixfleet/token";
        state_dir = "/Users/alice/.local/state/nixfleet-agent";
      };
    };

    testSettingsWinOverDefaults = {
      expr =
        (home pkgs (
          minimal
          // {
            settings = {
              rebuild.flake_attr = "alice@laptop";
              state_dir = "/srv/agent";
            };
          }
        )).services.nixfleet-agent.settings;
      expected = linux.services.nixfleet-agent.settings // {
        rebuild = {
          program = [ "home-manager" ];
          flake_attr = "alice@laptop";
        };
        state_dir = "/srv/agent";
      };
    };

    testUserService = {
      expr =
        let
          unit = linux.systemd.user.services.nixfleet-agent;
        in
        {
          inherit (unit) Unit Install;
          Service = unit.Service // {
            ExecStart = named unit.Service.ExecStart;
            Environment = map named unit.Service.Environment;
          };
        };
      expected = {
        Unit = {
          Description = "NixFleet agent";
          Documentation = [ "man:nixfleet-agent(1)" ];
          StartLimitIntervalSec = 0;
        };
        Service = {
          Type = "notify";
          ExecStart = "<nixfleet-agent>/bin/nixfleet-agent --config <agent.toml> run";
          ExecReload = "/bin/sh -c 'kill -HUP $MAINPID'";
          Environment = [
            "PATH=/home/alice/.nix-profile/bin:<git-minimal>/bin:<openssh>/bin:/run/wrappers/bin:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
          ];
          KillMode = "process";
          Restart = "always";
          RestartSec = 1;
          RestartPreventExitStatus = 64;
          TimeoutStopSec = 10;
          WatchdogSec = 30;
          UMask = "0077";
        };
        Install.WantedBy = [ "default.target" ];
      };
    };

    testLaunchAgent = {
      expr =
        let
          agent = mac.launchd.agents.nixfleet-agent;
        in
        agent
        // {
          config = agent.config // {
            ProgramArguments = map named agent.config.ProgramArguments;
            EnvironmentVariables = lib.mapAttrs (_: named) agent.config.EnvironmentVariables;
          };
        };
      expected = {
        enable = true;
        config = {
          ProgramArguments = [
            "<nixfleet-agent>/bin/nixfleet-agent"
            "--config"
            "<agent.toml>"
            "run"
          ];
          EnvironmentVariables.PATH = "/Users/alice/.nix-profile/bin:<git-minimal>/bin:<openssh>/bin:/run/wrappers/bin:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";
          RunAtLoad = true;
          KeepAlive = true;
          ThrottleInterval = 10;
          AbandonProcessGroup = true;
          ProcessType = "Background";
          SoftResourceLimits.Core = 0;
          Umask = 63;
          StandardErrorPath = "/Users/alice/Library/Logs/nixfleet-agent.log";
        };
      };
    };

    # Each system has one of them, and the same file for the command line.
    testOneOfTheTwo = {
      expr = {
        services = lib.attrNames mac.systemd.user.services;
        agents = lib.attrNames linux.launchd.agents;
        settings = named linux.home.sessionVariables.NIXFLEET_CONFIG;
        onPath = lib.elem linux.services.nixfleet-agent.package linux.home.packages;
        complaints = complaintsOf linux ++ complaintsOf mac;
      };
      expected = {
        services = [ ];
        agents = [ ];
        settings = "<agent.toml>";
        onPath = true;
        complaints = [ ];
      };
    };

    testNothingUnlessEnabled = {
      expr =
        let
          disabled = home pkgs { };
        in
        {
          inherit (disabled.home) packages sessionVariables;
          inherit (disabled.systemd.user) services;
        };
      expected = {
        packages = [ ];
        sessionVariables = { };
        services = { };
      };
    };

    testRefused = {
      expr = complaintsOf (
        home pkgs (
          minimal
          // {
            tokenFile = /home/alice/token;
            settings = {
              token = "secret";
              repo.ssh_key = "${builtins.storeDir}/some-key";
              jobs.launcher = "systemd";
            };
          }
        )
      );
      expected = [
        "services.nixfleet-agent.tokenFile is /home/alice/token, in the Nix store or on its way there, where everyone could read the token. Write the path of a file on the host, in quotes."
        "services.nixfleet-agent.settings.token would be readable by everyone in the Nix store. Write the token into a file on the host and name it in services.nixfleet-agent.tokenFile."
        "services.nixfleet-agent.settings.repo.ssh_key is ${builtins.storeDir}/some-key, in the Nix store or on its way there, where everyone could read the key. Write the path of a file on the host, in quotes."
        ''services.nixfleet-agent.settings.jobs.launcher is "systemd", which needs root. Remove it, or use the NixOS module, whose jobs are units of root.''
      ];
    };
  };
in
report "home-check" "nix/home-manager.nix" tests
