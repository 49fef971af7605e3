# What can be set.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  inherit (lib)
    literalExpression
    mkEnableOption
    mkOption
    types
    ;
  inherit (import ./names.nix) stateDir;

  toml = pkgs.formats.toml { };

  commandType = import ./command-type.nix { inherit lib; };

  # The rewrite of nixos-rebuild was an option up to 25.05. In 25.11 it was the default, and the option
  # could still turn it off. Since 26.05 there is nothing else, and setting the option is an error.
  rebuildKnowsFormats =
    lib.versionAtLeast lib.trivial.release "26.05"
    || (config.system.rebuild.enableNg or (lib.versionAtLeast lib.trivial.release "25.11"));
in
{
  options.services.nixfleet-agent = {
    enable = mkEnableOption "the NixFleet agent, which connects this host to a fleet dashboard";

    package = mkOption {
      type = types.package;
      default = pkgs.callPackage ../package.nix { };
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
        read it: systemd hands it to the agent, when it starts the agent, and since version 260 also when
        the unit is reloaded.
      '';
    };

    proxy = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "http://proxy.example.org:3128";
      description = ''
        Proxy for the connection to the dashboard: `http://`, `https://`, `socks5h://` or `socks5://`, or `none`.
        If null, that of `networking.proxy`. Commands always follow `networking.proxy`. It ends up in the Nix
        store: a login goes into `proxyLoginFile`.
      '';
    };

    proxyLoginFile = mkOption {
      type = types.nullOr types.path;
      default = null;
      example = "/run/secrets/proxy-login";
      description = ''
        File on the host with the login for the proxy and nothing else: one line, `USER:PASSWORD`. Root alone
        needs to be able to read it.
      '';
    };

    clientCertFile = mkOption {
      type = types.nullOr types.path;
      default = null;
      example = "/run/secrets/nixfleet-client.pem";
      description = ''
        File with the certificate by which the dashboard knows this host, in PEM, for a dashboard that asks for
        one (mutual TLS). Only together with `clientKeyFile`. Root alone needs to be able to read it.
      '';
    };

    clientKeyFile = mkOption {
      type = types.nullOr types.path;
      default = null;
      example = "/run/secrets/nixfleet-client.key";
      description = ''
        File on the host with the key of that certificate, in PEM and not encrypted. Root alone needs to be able
        to read it.
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

      submodules = mkOption {
        type = types.bool;
        default = false;
        description = "Whether the checkout has its submodules, also those within submodules.";
      };

      lfs = mkOption {
        type = types.bool;
        default = false;
        description = "Whether files in Git LFS are fetched too. Without it they are pointers.";
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

      env = mkOption {
        type = types.attrsOf types.str;
        default = { };
        example = {
          GIT_SSH_COMMAND = "ssh -i /run/secrets/inputs-key";
        };
        description = ''
          Variables for every `nixos-rebuild` and for `update`. They end up in the Nix store: no secrets; those
          go into `rebuild.netrcFile` and `rebuild.accessTokensFile`.
        '';
      };

      netrcFile = mkOption {
        type = types.nullOr types.path;
        default = null;
        example = "/run/secrets/netrc";
        description = ''
          File on the host with the logins for private flake inputs and binary caches, in the format of
          netrc(5). Root alone needs to be able to read it. Its content reaches no command line and no log.
        '';
      };

      accessTokensFile = mkOption {
        type = types.nullOr types.path;
        default = null;
        example = "/run/secrets/access-tokens";
        description = ''
          The same for inputs such as `github:`: a file with settings of nix, such as
          `access-tokens = github.com=TOKEN`.
        '';
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
        Everything that `/etc/nixfleet/agent.toml` can hold; docs/settings.md lists the keys. The options above
        are written into it too. A value here wins over an option's default; a value here and another one
        in the option are an error, unless one of them has `lib.mkForce`. Lists are joined.

        The agent itself checks the file when the system is built. The file ends up in the Nix store: no
        secrets.
      '';
    };
  };
}
