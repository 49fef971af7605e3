# services.nixfleet-agent for Home Manager: the agent of one user, without root. A systemd user service on
# Linux, a launchd agent on macOS. Commands run as this user.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  inherit (lib) mkIf mkOption types;

  cfg = config.services.nixfleet-agent;
  inherit (import ./module/names.nix) module;
  secrets = import ./module/secret-checks.nix { inherit lib; };
  toml = pkgs.formats.toml { };
  inherit (pkgs.stdenv.hostPlatform) isDarwin isLinux;

  stateDir = "${config.xdg.stateHome}/nixfleet-agent";

  configFile = import ./module/settings-file.nix { inherit lib pkgs; } {
    inherit (cfg) package settings;
    # A host name is given, because that of the machine that builds says nothing.
    env = lib.optionalAttrs (!cfg.settings ? hostname) { NIXFLEET_HOSTNAME = "any"; };
  };

  command = [
    (lib.getExe cfg.package)
    "--config"
    "${configFile}"
    "run"
  ];

  # What commands find: this user's programs first, with home-manager among them.
  path = lib.concatStringsSep ":" [
    "${config.home.profileDirectory}/bin"
    (lib.makeBinPath [
      pkgs.gitMinimal
      pkgs.openssh
    ])
    "/run/wrappers/bin"
    "/run/current-system/sw/bin"
    "/nix/var/nix/profiles/default/bin"
    "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
  ];
in
{
  options.services.nixfleet-agent = {
    enable = lib.mkEnableOption "the NixFleet agent of this user, whose commands switch this user's home";

    package = mkOption {
      type = types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = lib.literalExpression "nixfleet-agent.packages.\${system}.default";
      description = "The agent.";
    };

    url = mkOption {
      type = types.str;
      example = "wss://fleet.example.org/ws";
      description = "Address of the dashboard.";
    };

    tokenFile = mkOption {
      type = types.path;
      example = "/home/alice/.config/nixfleet/token";
      description = ''
        File on the host that holds the token and nothing else. This user needs to be able to read it. It is
        read again for every connection.
      '';
    };

    settings = mkOption {
      type = types.submodule { freeformType = toml.type; };
      default = { };
      example = {
        hostname = "laptop";
        repo.url = "https://git.example.org/fleet.git";
      };
      description = ''
        Everything else that the agent's settings file can hold; docs/settings.md lists the keys. The file ends up
        in the Nix store: no secrets.
      '';
    };
  };

  config = mkIf cfg.enable {
    assertions = [
      (secrets.fileIsOutside {
        option = "tokenFile";
        file = cfg.tokenFile;
        secret = "token";
      })
      (secrets.tokenIsNoSetting cfg.settings)
      (secrets.fileIsOutside {
        option = "settings.repo.ssh_key";
        file = cfg.settings.repo.ssh_key or null;
        secret = "key";
      })
      {
        assertion = (cfg.settings.jobs.launcher or "direct") == "direct";
        message = ''
          ${module}.settings.jobs.launcher is "${cfg.settings.jobs.launcher}", which needs root.
          Remove it, or use the NixOS module, whose jobs are units of root.
        '';
      }
    ];

    services.nixfleet-agent.settings = {
      inherit (cfg) url;
      # A path, quoted or not, is a place on the host.
      token_file = toString cfg.tokenFile;
      state_dir = lib.mkDefault stateDir;
      rebuild = mkIf isLinux {
        # On macOS these are the agent's own defaults, with user@host as the attribute.
        program = lib.mkDefault [ "home-manager" ];
        flake_attr = lib.mkDefault config.home.username;
      };
    };

    home.packages = [ cfg.package ];
    # So that `nixfleet-agent status` and `logs` find this agent.
    home.sessionVariables.NIXFLEET_CONFIG = "${configFile}";

    systemd.user.services = mkIf isLinux {
      nixfleet-agent = {
        Unit = {
          Description = "NixFleet agent";
          Documentation = [ "man:nixfleet-agent(1)" ];
          # No limit on restarts: the agent must survive a dashboard that is down for a night.
          StartLimitIntervalSec = 0;
        };
        Service = {
          # The agent is ready before the first connection.
          Type = "notify";
          ExecStart = lib.concatStringsSep " " command;
          # The agent reads token and certificates anew, and connects anew if they have changed.
          ExecReload = "/bin/sh -c 'kill -HUP $MAINPID'";
          Environment = [ "PATH=${path}" ];
          # The supervisors of commands are in this unit, too. A restart, such as that by a switch which one
          # of them runs, ends the agent alone, and the next one goes on with the command.
          KillMode = "process";
          Restart = "always";
          RestartSec = 1;
          # No restart after a wrong configuration: it stays wrong until somebody changes it.
          RestartPreventExitStatus = 64;
          # The agent ends within a second.
          TimeoutStopSec = 10;
          WatchdogSec = 30;
          UMask = "0077";
          # No LimitCORE=0: commands inherit the limits of this unit. The agent itself and its supervisors forbid
          # core files of theirs, which would hold the token.
        };
        Install.WantedBy = [ "default.target" ];
      };
    };

    launchd.agents = mkIf isDarwin {
      nixfleet-agent = {
        enable = true;
        config = {
          ProgramArguments = command;
          EnvironmentVariables.PATH = path;
          RunAtLoad = true;
          # Started again whenever it ends, at most once in ten seconds.
          KeepAlive = true;
          ThrottleInterval = 10;
          # As above: commands go on when the agent ends.
          AbandonProcessGroup = true;
          ProcessType = "Background";
          # No core files, which would hold the token. Commands may raise this limit again.
          SoftResourceLimits.Core = 0;
          # 0077: launchd wants a number.
          Umask = 63;
          StandardErrorPath = "${config.home.homeDirectory}/Library/Logs/nixfleet-agent.log";
        };
      };
    };
  };
}
