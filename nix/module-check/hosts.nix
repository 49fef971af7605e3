# The hosts that the tests look at, and how they look.
{
  pkgs,
  lib,
  host,
  named,
  complaintsOf,
}:

rec {
  inherit named;

  # -- Hosts --

  agent =
    settings:
    host {
      services.nixfleet-agent = {
        enable = true;
      }
      // settings;
    };

  # The minimum that works, on a host with these other options, with additions.
  on =
    system: settings:
    host (
      system
      // {
        services.nixfleet-agent = {
          enable = true;
        }
        // required
        // settings;
      }
    );
  required = {
    url = "wss://fleet.example.org/ws";
    tokenFile = "/run/secrets/nixfleet-token";
  };

  with' = on { };

  minimal = on { networking.hostName = "web-1"; } { };

  full = host {
    networking.hostName = "web-1";
    networking.proxy.default = "http://proxy.example.org:3128";
    nix.nixPath = [ "nixpkgs=/srv/nixpkgs" ];
    # This entry must be kept, and must come after the line that clears the package's token.
    systemd.services.nixfleet-agent.serviceConfig.LoadCredential = [ "other:/run/secrets/other" ];
    services.nixfleet-agent = {
      enable = true;
      url = "wss://fleet.example.org/agents";
      tokenFile = "/run/secrets/50%-token";
      interval = 5;
      hostname = "web-one";
      location = "cloud";
      deviceType = "server";
      themeColor = "#7aa2f7";
      logLevel = "debug";
      generation = "checkout";
      repo = {
        url = "git@git.example.org:fleet.git";
        dir = /srv/fleet;
        branch = "production";
        sshKeyFile = "/run/secrets/fleet-key";
        submodules = true;
        lfs = true;
      };
      rebuild = {
        flakeAttr = "web";
        extraArgs = [ "--impure" ];
        logFormat = "bar-with-logs";
        env.NIX_SSHOPTS = "-p 2222";
        netrcFile = "/run/secrets/netrc";
        accessTokensFile = "/run/secrets/access-tokens";
      };
      rollback = {
        confirmTimeout = 300;
        hold = 30;
        checks = [
          { run = [ "true" ]; }
          {
            run = [
              (lib.getExe pkgs.hello)
              "a b"
            ];
            timeout = 10;
          }
        ];
      };
      reboot.enable = true;
      commands = {
        backup = {
          run = [
            (lib.getExe pkgs.hello)
            "a b"
          ];
          timeout = 60;
          killable = false;
          activation = true;
          cwd = "/srv";
          env.LANG = "C.UTF-8";
          description = "Back up /srv";
        };
        activate.steps = [
          [ "true" ]
          {
            run = [
              "/srv/system/bin/switch-to-configuration"
              "test"
            ];
            activation = true;
          }
        ];
      };
      settings = {
        ca_file = "/etc/ssl/fleet-ca.pem";
        jobs.keep = 50;
        rebuild.program = [
          "nixos-rebuild"
          "--fast"
        ];
      };
    };
  };

  disabled = host { };

  # Without a dashboard and without a token.
  heartbeat = host {
    services.nixfleet-agent.heartbeat = {
      enable = true;
      interval = 10;
      format = "avocado";
    };
  };

  # -- What the tests ask of them --

  settingsOf = host: host.config.services.nixfleet-agent.settings;

  complaints = host: complaintsOf host.config;

  evaluates = value: (builtins.tryEval (builtins.deepSeq value true)).success;

  # Without the settings that NixOS adds to every unit, and with names instead of store paths.
  unitText =
    host: unit:
    let
      everywhere = [ "PATH" ] ++ lib.attrNames host.config.systemd.globalEnvironment;
      isEverywhere = line: lib.any (name: lib.hasPrefix ''Environment="${name}='' line) everywhere;
      lines = lib.splitString "\n" host.config.systemd.units.${unit}.text;
    in
    named (lib.concatStringsSep "\n" (lib.filter (line: !isEverywhere line) lines));

  pathOf =
    host: service:
    map named (lib.splitString ":" host.config.systemd.services.${service}.environment.PATH);

  etc = host: host.config.environment.etc."nixfleet/agent.toml".source;
}
