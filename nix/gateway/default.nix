# services.nixfleet-gateway.
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
  cfg = config.services.nixfleet-gateway;
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
      name = "tls-key";
      variable = "TLS__KEY_FILE";
      file = cfg.tlsKeyFile;
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

  ports = map (address: lib.toInt (lib.last (lib.splitString ":" address))) cfg.settings.listen;
in
{
  options.services.nixfleet-gateway = {
    enable = lib.mkEnableOption "the gateway between NixFleet agents and NATS";

    package = lib.mkPackageOption pkgs "nixfleet-gateway" { };

    settings = lib.mkOption {
      description = "Settings, as docs/gateway.md explains them.";
      default = { };
      type = lib.types.submodule {
        freeformType = format.type;
        options = {
          listen = lib.mkOption {
            description = "Addresses for agents.";
            type = lib.types.nonEmptyListOf lib.types.str;
            default = [ "[::]:8080" ];
          };
          nats.servers = lib.mkOption {
            description = "Addresses of NATS servers.";
            type = lib.types.nonEmptyListOf lib.types.str;
            default = [ "nats://127.0.0.1:4222" ];
          };
        };
      };
      example = {
        tokens_file = "/etc/nixfleet/tokens";
        nats.servers = [
          "nats://10.0.0.1:4222"
          "nats://10.0.0.2:4222"
          "nats://10.0.0.3:4222"
        ];
        streams.replicas = 3;
      };
    };

    nkeyFile = secret "the seed of the NKey for NATS";
    credentialsFile = secret "the credentials for NATS";
    tlsKeyFile = secret "the key of the certificate for agents";

    openFirewall = lib.mkOption {
      description = "Whether to open the ports for agents. Health checks and metrics stay on this machine.";
      type = lib.types.bool;
      default = false;
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.settings ? tokens_file || cfg.settings ? tls && cfg.settings.tls ? client_ca_file;
        message = ''
          services.nixfleet-gateway: agents could not be told from others. Set settings.tokens_file,
          settings.tls.client_ca_file or both; `nixfleet-gateway token HOST` makes a token.
        '';
      }
      {
        assertion = cfg.nkeyFile == null || cfg.credentialsFile == null;
        message = "services.nixfleet-gateway: nkeyFile and credentialsFile are both set; leave one of them out.";
      }
    ];

    environment.etc."nixfleet/gateway.toml".source = format.generate "gateway.toml" cfg.settings;
    environment.systemPackages = [ cfg.package ];

    networking.firewall.allowedTCPPorts = lib.mkIf cfg.openFirewall ports;

    systemd.packages = [ cfg.package ];
    systemd.services.nixfleet-gateway = {
      wantedBy = [ "multi-user.target" ];
      restartTriggers = [ config.environment.etc."nixfleet/gateway.toml".source ];
      # A restart sends all hosts to another gateway and back, so there is one at the end of a switch and no other.
      stopIfChanged = false;
      environment = lib.listToAttrs (
        map (each: lib.nameValuePair "NIXFLEET_GATEWAY_${each.variable}" "%d/${each.name}") secrets
      );
      serviceConfig.LoadCredential = map (each: credential each.name each.file) secrets;
    };
  };
}
