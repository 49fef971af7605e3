# services.nixfleet-agent.heartbeat: the host's vitals in its own journal, with a dashboard or without.
{
  config,
  lib,
  ...
}:

let
  inherit (lib) mkIf mkOption types;

  cfg = config.services.nixfleet-agent.heartbeat;
  inherit (config.services.nixfleet-agent) package;
in
{
  options.services.nixfleet-agent.heartbeat = {
    enable = lib.mkEnableOption "the vitals of this host in its journal, a line at a fixed pace; needs neither a dashboard nor `services.nixfleet-agent.enable`";

    interval = mkOption {
      type = types.ints.between 1 86400;
      default = 30;
      description = "Seconds between two lines.";
    };

    format = mkOption {
      type = types.enum [
        "json"
        "avocado"
        "logfmt"
        "text"
        "journal"
      ];
      default = "json";
      description = ''
        `json` has everything, `avocado` the five fields of Avocado's heartbeat; `journal` gives the
        entries a field for each figure, such as `NIXFLEET_CPU_USAGE`.
      '';
    };
  };

  config = mkIf cfg.enable {
    environment.etc."heartbeat.conf".text = ''
      INTERVAL=${toString cfg.interval}
      FORMAT=${cfg.format}
    '';
    environment.systemPackages = [ package ];

    systemd.packages = [ package ];
    systemd.services.nixfleet-heartbeat = {
      wantedBy = [ "multi-user.target" ];
      # The service reads the file again without missing a line.
      reloadTriggers = [ config.environment.etc."heartbeat.conf".source ];
    };
  };
}
