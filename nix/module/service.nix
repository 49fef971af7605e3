# The agent's user, its units, and what they need of the host.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  inherit (import ./names.nix) stateDir;

  cfg = config.services.nixfleet-agent;

  # Older versions warn of a key that they do not know.
  refreshesCredentials = lib.versionAtLeast (lib.getVersion config.systemd.package) "260";

  # systemd interprets a percent sign.
  credential = name: file: "${name}:${lib.replaceStrings [ "%" ] [ "%%" ] (toString file)}";

  # Each with what the agent gets if the file is missing: it says so, and the unit starts all the same.
  optionalCredentials = lib.filter (each: each.file != null) [
    {
      name = "proxy-login";
      file = cfg.proxyLoginFile;
      instead = "no login was passed";
    }
    {
      name = "client-cert";
      # A certificate is no secret. A path without quotes is copied to the store, and to the host with it.
      file = if builtins.isPath cfg.clientCertFile then "${cfg.clientCertFile}" else cfg.clientCertFile;
      instead = "no client certificate was passed";
    }
    {
      name = "client-key";
      file = cfg.clientKeyFile;
      instead = "no client certificate was passed";
    }
  ];

  # What root runs for the agent.
  asRoot = {
    restartIfChanged = false;
    stopIfChanged = false;
    # The variables of a root login, so that a command behaves the same in both.
    environment =
      config.nix.envVars
      // lib.optionalAttrs (config.environment.sessionVariables ? NIX_PATH) {
        inherit (config.environment.sessionVariables) NIX_PATH;
      }
      // config.networking.proxy.envVars;
    path = [
      "/run/wrappers"
      "/run/current-system/sw"
      # The built-in commands need these programs, and not every system has them.
      config.nix.package
      config.programs.ssh.package
      pkgs.gitMinimal
    ]
    ++ lib.optional ((cfg.settings.repo or { }).lfs or false) pkgs.git-lfs;
  };
in
{
  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];

    users.users.nixfleet-agent = {
      description = "NixFleet agent";
      isSystemUser = true;
      group = "nixfleet-agent";
      home = stateDir;
    };
    users.groups.nixfleet-agent = { };

    # polkit reads the rule from the package. `systemPackages` puts it where polkit searches.
    security.polkit.enable = true;

    systemd.tmpfiles.packages = [ cfg.package ];
    systemd.packages = [ cfg.package ];

    systemd.services.nixfleet-agent = {
      wantedBy = [ "multi-user.target" ];
      restartTriggers = [ config.environment.etc."nixfleet/agent.toml".source ];
      # One restart at the end of a switch, instead of a stop at its beginning and a start at its end, so
      # that heartbeats continue during the switch.
      stopIfChanged = false;
      # The agent reads them as curl does. A proxy of its own wins over them.
      environment = lib.mkIf (cfg.proxy == null) config.networking.proxy.envVars;
      serviceConfig.LoadCredential = lib.mkBefore (
        [
          # Clears the path in the package's file.
          ""
          (credential "token" cfg.tokenFile)
        ]
        ++ map (each: credential each.name each.file) optionalCredentials
      );
      serviceConfig.SetCredential = lib.mkIf (optionalCredentials != [ ]) (
        map (each: "${each.name}:${each.instead}") optionalCredentials
      );
      # A reload passes new ones.
      serviceConfig.RefreshOnReload = lib.mkIf refreshesCredentials "credentials";
    };

    # A switch never stops or restarts running jobs, because one of them may have started it, nor the guard
    # of a new system, which the old one has started.
    systemd.services."nixfleet-job@" = asRoot;
    systemd.services."nixfleet-rollback@" = asRoot;
  };
}
