# Options as settings, and the file that the units read.
{
  config,
  lib,
  options,
  pkgs,
  ...
}:

let
  inherit (lib) mkIf;
  inherit (import ./names.nix) stateDir;

  cfg = config.services.nixfleet-agent;
  opt = options.services.nixfleet-agent;

  # The value of an option, with the option's priority: a default gives way to `settings`, and Nix
  # reports two different definitions as a conflict, instead of losing one of them.
  handOn = option: asWritten: mkIf (option.value != null) (lib.mkDerivedConfig option asWritten);
  same = lib.id;

  withoutNulls = lib.filterAttrs (_: value: value != null);

  # An option of this set has another value than its default, so the file has the table.
  isSet =
    rollback: rollback.confirmTimeout != null || rollback.hold != null || rollback.checks != [ ];

  step = given: if lib.isList given then given else { inherit (given) run activation; };

  command =
    given:
    withoutNulls {
      inherit (given) run timeout;
      steps = lib.mapNullable (map step) given.steps;
      cwd = lib.mapNullable toString given.cwd;
      # Defaults are left out, because the agent has them too. This keeps the file short.
      killable = if given.killable then null else false;
      activation = if given.activation then true else null;
      env = if given.env == { } then null else given.env;
      description = if given.description == "" then null else given.description;
    };
in
{
  config = mkIf cfg.enable {
    services.nixfleet-agent.settings = {
      url = handOn opt.url same;
      proxy = handOn opt.proxy same;
      interval = handOn opt.interval same;
      hostname = handOn opt.hostname same;
      location = handOn opt.location same;
      device_type = handOn opt.deviceType same;
      theme_color = handOn opt.themeColor same;
      log_level = handOn opt.logLevel same;
      repo = {
        url = handOn opt.repo.url same;
        # A path, quoted or not, is a place on the host. It must not be copied into the store.
        dir = handOn opt.repo.dir toString;
        branch = handOn opt.repo.branch same;
        ssh_key = handOn opt.repo.sshKeyFile toString;
        submodules = mkIf cfg.repo.submodules (handOn opt.repo.submodules same);
        lfs = mkIf cfg.repo.lfs (handOn opt.repo.lfs same);
      };
      rebuild = {
        flake_attr = handOn opt.rebuild.flakeAttr same;
        extra_args = handOn opt.rebuild.extraArgs same;
        log_format = handOn opt.rebuild.logFormat same;
        env = mkIf (cfg.rebuild.env != { }) (handOn opt.rebuild.env same);
        netrc_file = handOn opt.rebuild.netrcFile toString;
        access_tokens_file = handOn opt.rebuild.accessTokensFile toString;
      };
      rollback = mkIf (isSet cfg.rollback) {
        confirm_timeout = handOn opt.rollback.confirmTimeout same;
        hold = handOn opt.rollback.hold same;
        checks = mkIf (cfg.rollback.checks != [ ]) (handOn opt.rollback.checks (map withoutNulls));
      };
      # Written only if they differ from the agent's defaults, which keeps the file short.
      generation = mkIf (cfg.generation != "deployed") (handOn opt.generation same);
      reboot = mkIf cfg.reboot.enable { enable = handOn opt.reboot.enable same; };
      commands = lib.mapAttrs (_: command) cfg.commands;
    };

    environment.etc."nixfleet/agent.toml".source = import ./settings-file.nix { inherit lib pkgs; } {
      inherit (cfg) package settings;
      # The file as the unit will read it, but without the token, which no build may know.
      env = {
        NIXFLEET_STATE_DIR = stateDir;
        NIXFLEET_TOKEN = "checked-without-it";
      };
    };
  };
}
