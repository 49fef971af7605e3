# services.nixfleet-dashboard.
#
# The unit is the package's file, the same as on every other distribution. This module writes the settings, and passes
# secrets.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.services.nixfleet-dashboard;
  format = pkgs.formats.toml { };

  # systemd interprets a percent sign.
  credential = name: file: "${name}:${lib.replaceStrings [ "%" ] [ "%%" ] (toString file)}";

  # Each with the variable that names its file. systemd reads them as root, and shows them to this unit only.
  secrets = lib.filter (each: each.file != null) [
    {
      name = "nkey";
      variable = "NATS__NKEY_FILE";
      file = cfg.nkeyFile;
    }
    {
      name = "nats-credentials";
      variable = "NATS__CREDENTIALS_FILE";
      file = cfg.credentialsFile;
    }
    {
      name = "logins";
      variable = "LOGIN_FILE";
      file = cfg.loginFile;
    }
    {
      name = "session-key";
      variable = "SESSION_KEY_FILE";
      file = cfg.sessionKeyFile;
    }
  ];

  secret =
    what:
    lib.mkOption {
      # No path, which would be copied to the store for all to read.
      type = lib.types.nullOr (
        lib.types.pathWith {
          absolute = true;
          inStore = false;
        }
      );
      default = null;
      description = "File with ${what}. Only root has to be able to read it.";
    };
in
{
  options.services.nixfleet-dashboard = {
    enable = lib.mkEnableOption "the dashboard of a NixFleet fleet that is kept in NATS";

    package = lib.mkPackageOption pkgs "nixfleet-dashboard" { };

    settings = lib.mkOption {
      description = "Settings, as docs/dashboard.md explains them.";
      default = { };
      type = lib.types.submodule {
        freeformType = format.type;
        options = {
          listen = lib.mkOption {
            description = "Address for browsers, or for the proxy in front of it.";
            type = lib.types.str;
            default = "127.0.0.1:8080";
          };
          nats.servers = lib.mkOption {
            description = "Addresses of NATS servers.";
            type = lib.types.nonEmptyListOf lib.types.str;
            default = [ "nats://127.0.0.1:4222" ];
          };
        };
      };
      example = {
        public_url = "https://fleet.example.org";
        trusted_proxies = [ "127.0.0.1" ];
        nats.servers = [
          "nats://10.0.0.1:4222"
          "nats://10.0.0.2:4222"
          "nats://10.0.0.3:4222"
        ];
      };
    };

    nkeyFile = secret "the seed of the NKey for NATS";
    credentialsFile = secret "the credentials for NATS";
    loginFile = secret "the names and passwords of people, from `nixfleet-dashboard password NAME`";
    sessionKeyFile = secret "the key that signs sessions, from `nixfleet-dashboard session-key`";
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion =
          cfg.loginFile != null
          || lib.any (key: cfg.settings ? ${key}) [
            "login_file"
            "trusted_header"
            "no_login"
          ];
        message = ''
          services.nixfleet-dashboard: everybody could run commands on all hosts. Set loginFile, for which
          `nixfleet-dashboard password NAME` makes lines, or settings.trusted_header, if a proxy in front knows people.
        '';
      }
      {
        assertion = cfg.nkeyFile == null || cfg.credentialsFile == null;
        message = "services.nixfleet-dashboard: nkeyFile and credentialsFile are both set; leave one of them out.";
      }
    ];

    environment.etc."nixfleet/dashboard.toml".source = format.generate "dashboard.toml" cfg.settings;
    environment.systemPackages = [ cfg.package ];

    systemd.packages = [ cfg.package ];
    systemd.services.nixfleet-dashboard = {
      wantedBy = [ "multi-user.target" ];
      restartTriggers = [ config.environment.etc."nixfleet/dashboard.toml".source ];
      # A restart closes all pages for a moment, so there is one at the end of a switch and no other.
      stopIfChanged = false;
      environment = lib.listToAttrs (
        map (each: lib.nameValuePair "NIXFLEET_DASHBOARD_${each.variable}" "%d/${each.name}") secrets
      );
      serviceConfig.LoadCredential = map (each: credential each.name each.file) secrets;
    };
  };
}
