# services.nixfleet-agent.
#
# The units are the package's files, the same as on every other distribution. This module writes the
# configuration, and adds to the units what depends on the host.
{
  config,
  lib,
  options,
  pkgs,
  ...
}:

let
  inherit (lib)
    literalExpression
    mkEnableOption
    mkIf
    mkOption
    types
    ;

  cfg = config.services.nixfleet-agent;
  opt = options.services.nixfleet-agent;

  toml = pkgs.formats.toml { };

  # The agent's built-in commands. It refuses custom commands with these names.
  builtIn = [
    "clone"
    "pull"
    "switch"
    "pull-switch"
    "test"
    "rollback"
    "update"
    "stop"
    "kill"
    "restart"
    "reboot"
    "check-version"
    "refresh-git"
    "refresh-lock"
    "refresh-system"
    "refresh-all"
  ];

  # The rewrite of nixos-rebuild was an option up to 25.05. In 25.11 it was the default, and the option
  # could still turn it off. Since 26.05 there is nothing else, and setting the option is an error.
  rebuildKnowsFormats =
    lib.versionAtLeast lib.trivial.release "26.05"
    || (config.system.rebuild.enableNg or (lib.versionAtLeast lib.trivial.release "25.11"));

  # -- Options to settings --

  # The value of an option, with the option's priority: a default gives way to `settings`, and Nix
  # reports two different definitions as a conflict, instead of losing one of them.
  handOn = option: asWritten: mkIf (option.value != null) (lib.mkDerivedConfig option asWritten);
  same = lib.id;

  withoutNulls = lib.filterAttrs (_: value: value != null);

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

  # -- The file --

  written = toml.generate "agent.toml" cfg.settings;

  # The file as the unit will read it, but without the token, which no build may know.
  checked =
    pkgs.runCommand "agent.toml"
      {
        preferLocalBuild = true;
        allowSubstitutes = false;
        env = {
          NIXFLEET_STATE_DIR = stateDir;
          NIXFLEET_TOKEN = "checked-without-it";
        };
      }
      ''
        ${lib.getExe cfg.package} --config ${written} check-config
        cp ${written} $out
      '';

  configFile =
    if pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform then checked else written;

  stateDir = "/var/lib/nixfleet-agent";

  # -- Mistakes --

  name = "services.nixfleet-agent";

  inStore = path: path != null && (builtins.isPath path || lib.hasPrefix builtins.storeDir path);

  check = assertion: message: { inherit assertion message; };

  settingsChecks =
    let
      inherit (cfg) settings;
      url = settings.url or "";
      split = builtins.match "([a-z]+)://(\\[[^]]*]|[^/:?#]*)(.*)" url;
      scheme = if split == null then "" else lib.elemAt split 0;
      host = if split == null then "" else lib.elemAt split 1;
      rest = if split == null then "" else lib.elemAt split 2;
      isLocal = host == "localhost" || host == "[::1]" || builtins.match "127\\.[0-9.]+" host != null;
      key = if cfg.repo.sshKeyFile != null then cfg.repo.sshKeyFile else settings.repo.ssh_key or null;
    in
    [
      (check (url != "") ''
        ${name}.url is not set.
        Set it to the address of the dashboard, such as "wss://fleet.example.org/ws".
      '')
      (check (scheme != "http" && scheme != "https") ''
        ${name}.url is "${url}", but ${scheme}:// is for web pages.
        Write "${if scheme == "http" && isLocal then "ws" else "wss"}://${host}${rest}".
      '')
      (check (scheme == "ws" -> isLocal || settings.allow_insecure or false) ''
        ${name}.url is "${url}", which would send the token unencrypted to another machine.
        Write wss://, or set ${name}.settings.allow_insecure = true on a network you trust.
      '')
      hostnameCheck
      (check (!settings ? token) ''
        ${name}.settings.token would be readable by everyone in the Nix store.
        Write the token into a file on the host and name it in ${name}.tokenFile.
      '')
      (check (!settings ? token_file) ''
        ${name}.settings.token_file cannot be set: systemd reads the token for the agent, whose user
        cannot read the file. Name it in ${name}.tokenFile.
      '')
      (check (!settings ? state_dir) ''
        ${name}.settings.state_dir cannot be set: the units keep all state in ${stateDir}.
        Remove it; to have it elsewhere, mount or link something there.
      '')
      (check (!(settings.jobs or { }) ? dir) ''
        ${name}.settings.jobs.dir cannot be set: the units keep all jobs in ${stateDir}/jobs.
        Remove it; to have it elsewhere, mount or link something there.
      '')
      (check (!inStore key) ''
        ${name}.repo.sshKeyFile is ${toString key}, in the Nix store or on its way there, where
        everyone could read the key. Write the path of a file on the host, in quotes, such as
        "/run/secrets/fleet-key".
      '')
    ]
    ++ lib.concatLists (lib.mapAttrsToList commandChecks (settings.commands or { }));

  # The agent's name and what it uses of it, up to the first dot.
  hostname = cfg.settings.hostname or "nixos";
  shortName = lib.head (lib.splitString "." hostname);
  isName = text: builtins.match "[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?" text != null;

  # By default the name is also that of the configuration in the flake.
  attributeIsSet = (cfg.settings.rebuild or { }) ? flake_attr;

  # NixOS allows underscores in networking.hostName. Dashboards refuse a registration with one.
  hostnameCheck =
    let
      # Without hyphens at either end, which would look odd.
      near = lib.head (builtins.match "-*(.*[^-]|)-*" (lib.replaceStrings [ "_" ] [ "-" ] shortName));
      isUnderscored = lib.hasInfix "_" shortName && isName near;
      attribute = lib.optionalString (
        !attributeIsSet
      ) '', and ${name}.rebuild.flakeAttr = "${shortName}", its name in the flake'';
    in
    check (isName shortName) (
      if isUnderscored then
        ''
          ${name}.hostname is "${hostname}", and dashboards refuse a host with an underscore in its name.
          Set ${name}.hostname = "${near}"${attribute}.
          By default hostname is networking.hostName, which need not change.
        ''
      else
        ''
          ${name}.hostname is "${hostname}", which is not 1 to 63 letters, digits and hyphens.
          Set it to a short name such as "web-1"; by default it is networking.hostName.
        ''
    );

  hostnameWarning =
    let
      uses = if attributeIsSet then "for the dashboard" else "for the dashboard and in the flake";
      attribute =
        lib.optionalString (!attributeIsSet)
          " If the configuration in the flake has the long name, also set ${name}.rebuild.flakeAttr = \"${hostname}\".";
    in
    lib.optional (hostname != shortName && isName shortName)
      ''${name}.hostname is "${hostname}", which is shortened to "${shortName}" ${uses}. If that is right, set ${name}.hostname = "${shortName}".${attribute}'';

  commandChecks = command: given: [
    (check (builtins.match "[a-z0-9][a-z0-9-]{0,31}" command != null) ''
      ${name}.commands."${command}" is not a name for a command.
      Choose up to 32 lower-case letters, digits and hyphens, the first one no hyphen, such as "backup".
    '')
    (check (!lib.elem command builtIn) ''
      ${name}.commands.${command} is a command that the agent has itself.
      Choose another name.
    '')
    (check (given ? run != given ? steps) ''
      ${name}.commands."${command}" has ${
        if given ? run then "both run and steps" else "neither run nor steps"
      }.
      Set run to one program with its arguments, or steps to a list of several, and not both.
    '')
  ];

  tokenChecks = [
    (check (cfg.tokenFile != null) ''
      ${name}.tokenFile is not set.
      Set it to a file on the host that holds the token and nothing else, such as
      "/run/secrets/nixfleet-token".
    '')
    (check (!inStore cfg.tokenFile) ''
      ${name}.tokenFile is ${toString cfg.tokenFile}, in the Nix store or on its way there, where
      everyone could read the token. Write the path of a file on the host, in quotes, such as
      "/run/secrets/nixfleet-token"; sops-nix and agenix make such files.
    '')
  ];

  # -- Types --

  argv = types.nonEmptyListOf types.str;

  stepType = types.either argv (
    types.submodule {
      options = {
        run = mkOption {
          type = argv;
          example = [
            "/run/current-system/bin/switch-to-configuration"
            "switch"
          ];
          description = "Program and arguments.";
        };
        activation = mkOption {
          type = types.bool;
          default = false;
          description = "Whether it would hurt to be stopped half-way. `stop` waits for its end.";
        };
      };
    }
  );

  commandType = types.submodule {
    options = {
      run = mkOption {
        type = types.nullOr argv;
        default = null;
        example = literalExpression ''[ (lib.getExe pkgs.restic) "backup" "/home" ]'';
        description = "Program and arguments; no shell reads them. Either this or `steps`.";
      };
      steps = mkOption {
        type = types.nullOr (types.nonEmptyListOf stepType);
        default = null;
        example = [
          [
            "nix"
            "flake"
            "update"
          ]
          [
            "git"
            "commit"
            "--all"
            "--message"
            "Update flake.lock"
          ]
        ];
        description = ''
          Several programs, run in order until one fails. Each is a list of words, or a set of `run` and
          `activation`.
        '';
      };
      timeout = mkOption {
        type = types.nullOr (types.ints.between 1 604800);
        default = null;
        example = 3600;
        description = "Seconds for all steps together. No limit by default.";
      };
      killable = mkOption {
        type = types.bool;
        default = true;
        description = "Whether the dashboard's `stop` may end it.";
      };
      activation = mkOption {
        type = types.bool;
        default = false;
        description = "Marks every step as one that should not be stopped half-way.";
      };
      cwd = mkOption {
        type = types.nullOr types.path;
        default = null;
        example = "/srv";
        description = "Folder it runs in.";
      };
      env = mkOption {
        type = types.attrsOf types.str;
        default = { };
        example = {
          LANG = "C.UTF-8";
        };
        description = "Variables added to its environment. They end up in the Nix store: no secrets.";
      };
      description = mkOption {
        type = types.singleLineStr;
        default = "";
        example = "Back up /home";
        description = "For people.";
      };
    };
  };
in
{
  # The heartbeat, and the names of the options in the module that this one replaces.
  imports =
    let
      at = option: [
        "services"
        "nixfleet-agent"
        option
      ];
      inRepo = option: at "repo" ++ [ option ];
    in
    [
      ./heartbeat.nix
      (lib.mkRenamedOptionModule (at "configRepo") (inRepo "dir"))
      (lib.mkRenamedOptionModule (at "repoUrl") (inRepo "url"))
      (lib.mkRenamedOptionModule (at "branch") (inRepo "branch"))
      (lib.mkRenamedOptionModule (at "sshKeyFile") (inRepo "sshKeyFile"))
      (lib.mkRemovedOptionModule (at "nixpkgsVersion") ''
        The agent reads the version from the running system. To report another one, set
        services.nixfleet-agent.settings.nixpkgs_version.
      '')
      (lib.mkRemovedOptionModule (at "version") ''
        The agent reports its own version. To report another one, such as the one that the dashboard
        expects, set services.nixfleet-agent.settings.reported_version.
      '')
      (lib.mkRemovedOptionModule (at "user") ''
        The agent has a user of its own, which may do nothing but start jobs; jobs run as root. Remove the
        option. A checkout that belongs to a person stays theirs: git runs as the owner of the folder.
      '')
    ];

  options.services.nixfleet-agent = {
    enable = mkEnableOption "the NixFleet agent, which connects this host to a fleet dashboard";

    package = mkOption {
      type = types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = literalExpression "nixfleet-agent.packages.\${system}.default";
      description = "The agent. Its units, its polkit rule and its folders come with it.";
    };

    url = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "wss://fleet.example.org/ws";
      description = "Address of the dashboard. Required. Without a path it means `/ws`.";
    };

    tokenFile = mkOption {
      type = types.nullOr types.path;
      default = null;
      example = "/run/secrets/nixfleet-token";
      description = ''
        File on the host that holds the token and nothing else. Required. Root alone needs to be able to
        read it: systemd hands it to the agent, when it starts the agent.
      '';
    };

    interval = mkOption {
      type = types.ints.between 1 3600;
      default = 30;
      description = ''
        Seconds between heartbeats, at most an hour. A host counts as offline after three of them.
      '';
    };

    hostname = mkOption {
      type = types.nullOr types.str;
      default = if config.networking.hostName == "" then null else config.networking.hostName;
      defaultText = literalExpression "config.networking.hostName";
      example = "web-1";
      description = ''
        Name of this host for the dashboard: letters, digits and hyphens. If null, the name that the kernel
        has. It is also the name in the flake, unless `rebuild.flakeAttr` is set.
      '';
    };

    generation = mkOption {
      type = types.enum [
        "deployed"
        "checkout"
      ];
      default = "deployed";
      description = ''
        Which commit the dashboard is told as the generation of this host: that of the running system
        (`deployed`), or HEAD of the checkout (`checkout`). The second one is for dashboards that take a
        `pull` as done only when the generation has changed.
      '';
    };

    location = mkOption {
      type = types.nullOr (
        types.enum [
          "home"
          "work"
          "cloud"
        ]
      );
      default = null;
      description = "Where the dashboard shows the host.";
    };

    deviceType = mkOption {
      type = types.nullOr (
        types.enum [
          "server"
          "desktop"
          "laptop"
          "gaming"
        ]
      );
      default = null;
      description = "As what the dashboard shows the host.";
    };

    themeColor = mkOption {
      type = types.nullOr types.singleLineStr;
      default = null;
      example = "#7aa2f7";
      description = "Colour of the host in the dashboard. If null, the dashboard chooses.";
    };

    logLevel = mkOption {
      type = types.str;
      default = "info";
      example = "debug";
      description = ''
        `off`, `error`, `warn`, `info`, `debug` or `trace`, also `target=level`, joined by commas.
      '';
    };

    repo = {
      url = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "https://git.example.org/fleet.git";
        description = ''
          Repository of the fleet's configuration. The agent's `pull` clones it, and resets the checkout
          to the branch. If null, `pull` runs `git pull` in `repo.dir`.
        '';
      };

      dir = mkOption {
        type = types.nullOr types.path;
        default = null;
        defaultText = literalExpression ''if repo.url != null then "${stateDir}/repo" else null'';
        example = "/etc/nixos";
        description = "The checkout. With `repo.url` it is the agent's own, and changes in it get lost.";
      };

      branch = mkOption {
        type = types.str;
        default = "main";
        description = "Branch that `pull` follows.";
      };

      sshKeyFile = mkOption {
        type = types.nullOr types.path;
        default = null;
        example = "/run/secrets/fleet-key";
        description = ''
          File on the host with a private key for git over SSH. If null, ssh looks for one of root's, or of the checkout's owner.
        '';
      };
    };

    rebuild = {
      flakeAttr = mkOption {
        type = types.nullOr types.str;
        default = null;
        defaultText = literalExpression "hostname";
        example = "web-1";
        description = "What stands behind `#` of the flake that is switched to.";
      };

      extraArgs = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [ "--impure" ];
        description = "Added at the end of every `nixos-rebuild`.";
      };

      logFormat = mkOption {
        type = types.nullOr (
          types.enum [
            "raw"
            "raw-with-logs"
            "internal-json"
            "bar"
            "bar-with-logs"
            "multiline"
            "multiline-with-logs"
          ]
        );
        default = if rebuildKnowsFormats then "internal-json" else null;
        defaultText = literalExpression ''
          if NixOS has nixos-rebuild-ng then "internal-json" else null
        '';
        description = ''
          Given as `--log-format` to every `nixos-rebuild`. With `internal-json` the dashboard sees how many
          derivations are done, and the same text as without it. If null, the option is not given: set that if
          `settings.rebuild.program` is a program that does not know it.
        '';
      };
    };

    reboot.enable = mkOption {
      type = types.bool;
      default = false;
      description = "Whether the dashboard may reboot this host.";
    };

    commands = mkOption {
      type = types.attrsOf commandType;
      default = { };
      example = literalExpression ''
        {
          backup = {
            description = "Back up /home";
            run = [ (lib.getExe pkgs.restic) "backup" "/home" ];
            timeout = 3600;
          };
        }
      '';
      description = ''
        Commands of your own that the dashboard may ask for, by name: up to 32 lower-case letters, digits
        and hyphens, and none of the agent's own. They run as root.
      '';
    };

    settings = mkOption {
      type = types.submodule { freeformType = toml.type; };
      default = { };
      example = {
        ca_file = "/etc/ssl/fleet-ca.pem";
        jobs.keep = 50;
      };
      description = ''
        Everything that `/etc/nixfleet/agent.toml` can hold; the README lists the keys. The options above
        are written into it too. A value here wins over an option's default; a value here and another one
        in the option are an error, unless one of them has `lib.mkForce`. Lists are joined.

        The agent itself checks the file when the system is built. The file ends up in the Nix store: no
        secrets.
      '';
    };
  };

  config = mkIf cfg.enable {
    services.nixfleet-agent.settings = {
      url = handOn opt.url same;
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
      };
      rebuild = {
        flake_attr = handOn opt.rebuild.flakeAttr same;
        extra_args = handOn opt.rebuild.extraArgs same;
        log_format = handOn opt.rebuild.logFormat same;
      };
      # Written only if they differ from the agent's defaults, which keeps the file short.
      generation = mkIf (cfg.generation != "deployed") (handOn opt.generation same);
      reboot = mkIf cfg.reboot.enable { enable = handOn opt.reboot.enable same; };
      commands = lib.mapAttrs (_: command) cfg.commands;
    };

    assertions = tokenChecks ++ settingsChecks;
    warnings = hostnameWarning;

    environment.etc."nixfleet/agent.toml".source = configFile;
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
      serviceConfig.LoadCredential = lib.mkBefore [
        # Clears the path in the package's file.
        ""
        "token:${lib.replaceStrings [ "%" ] [ "%%" ] (toString cfg.tokenFile)}"
      ];
    };

    # A switch never stops or restarts running jobs, because one of them may have started it.
    systemd.services."nixfleet-job@" = {
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
      ];
    };
  };
}
