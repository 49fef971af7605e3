# The module on complete hosts, without building or booting one: what it writes, and what it refuses.
# Everything happens during evaluation, so `nix flake check --no-build` runs these tests too.
{
  pkgs,
  lib,
  host,
}:

let
  inherit (import ./check-helpers.nix { inherit pkgs lib; }) named complaintsOf report;

  # -- Hosts --

  agent =
    settings:
    host {
      services.nixfleet-agent = {
        enable = true;
      }
      // settings;
    };

  # The minimum that works, with additions.
  with' = settings: agent ({ inherit (required) url tokenFile; } // settings);
  required = {
    url = "wss://fleet.example.org/ws";
    tokenFile = "/run/secrets/nixfleet-token";
  };

  minimal = host {
    networking.hostName = "web-1";
    services.nixfleet-agent = {
      enable = true;
    }
    // required;
  };

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
      };
      rebuild = {
        flakeAttr = "web";
        extraArgs = [ "--impure" ];
        logFormat = "bar-with-logs";
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

  # -- Helpers --

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

  # -- Tests --

  tests = {
    # What the module writes.

    testMinimalSettings = {
      expr = settingsOf minimal;
      expected = {
        url = "wss://fleet.example.org/ws";
        interval = 30;
        hostname = "web-1";
        log_level = "info";
        repo.branch = "main";
        rebuild = {
          extra_args = [ ];
          log_format = "internal-json";
        };
        commands = { };
      };
    };

    testFullSettings = {
      expr = settingsOf full;
      expected = {
        url = "wss://fleet.example.org/agents";
        interval = 5;
        hostname = "web-one";
        location = "cloud";
        device_type = "server";
        theme_color = "#7aa2f7";
        log_level = "debug";
        generation = "checkout";
        ca_file = "/etc/ssl/fleet-ca.pem";
        repo = {
          url = "git@git.example.org:fleet.git";
          dir = "/srv/fleet";
          branch = "production";
          ssh_key = "/run/secrets/fleet-key";
        };
        rebuild = {
          program = [
            "nixos-rebuild"
            "--fast"
          ];
          flake_attr = "web";
          extra_args = [ "--impure" ];
          log_format = "bar-with-logs";
        };
        reboot.enable = true;
        jobs.keep = 50;
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
      };
    };

    testNoFormatForAProgramThatKnowsNone = {
      expr =
        settingsOf (with' {
          rebuild.logFormat = null;
          settings.rebuild.program = [ "own-rebuild" ];
        })
        ? rebuild.log_format;
      expected = false;
    };

    testNoNameLeavesItToTheKernel = {
      expr =
        let
          nameless = host {
            networking.hostName = "";
            services.nixfleet-agent = {
              enable = true;
            }
            // required;
          };
        in
        (settingsOf nameless).hostname or "none";
      expected = "none";
    };

    testTheAgentChecksTheFile = {
      expr = {
        script = named (etc full).buildCommand;
        inherit (etc full) NIXFLEET_STATE_DIR;
        hasToken = (etc full).NIXFLEET_TOKEN != "";
      };
      expected = {
        script = ''
          <nixfleet-agent>/bin/nixfleet-agent --config <agent.toml> check-config
          cp <agent.toml> $out
        '';
        NIXFLEET_STATE_DIR = "/var/lib/nixfleet-agent";
        hasToken = true;
      };
    };

    testAgentUnit = {
      expr = unitText minimal "nixfleet-agent.service";
      expected = ''
        [Unit]
        X-Restart-Triggers=<X-Restart-Triggers-nixfleet-agent>

        [Service]
        X-StopIfChanged=false
        LoadCredential=
        LoadCredential=token:/run/secrets/nixfleet-token

        [Install]
        WantedBy=multi-user.target
      '';
    };

    # systemd interprets a percent sign, so it is doubled. Both credentials come after the empty line.
    testAgentUnitOfTheFullHost = {
      expr = lib.filter (lib.hasPrefix "LoadCredential=") (
        lib.splitString "\n" (unitText full "nixfleet-agent.service")
      );
      expected = [
        "LoadCredential="
        "LoadCredential=token:/run/secrets/50%%-token"
        "LoadCredential=other:/run/secrets/other"
      ];
    };

    # Nothing here may undo X-StopOnRemoval=false of the package's file.
    testJobUnit = {
      expr = unitText full "nixfleet-job@.service";
      expected = ''
        [Unit]

        [Service]
        Environment="NIX_PATH=nixpkgs=/srv/nixpkgs"
        Environment="all_proxy=http://proxy.example.org:3128"
        Environment="ftp_proxy=http://proxy.example.org:3128"
        Environment="http_proxy=http://proxy.example.org:3128"
        Environment="https_proxy=http://proxy.example.org:3128"
        Environment="no_proxy=127.0.0.1,localhost"
        Environment="rsync_proxy=http://proxy.example.org:3128"
        X-RestartIfChanged=false
        X-StopIfChanged=false
      '';
    };

    # Without channels there is no NIX_PATH to pass on.
    testJobUnitWithoutNix = {
      expr = unitText (host {
        nix.enable = false;
        services.nixfleet-agent = {
          enable = true;
        }
        // required;
      }) "nixfleet-job@.service";
      expected = ''
        [Unit]

        [Service]
        X-RestartIfChanged=false
        X-StopIfChanged=false
      '';
    };

    testJobPath = {
      expr = lib.take 5 (pathOf minimal "nixfleet-job@");
      expected = [
        "/run/wrappers/bin"
        "/run/current-system/sw/bin"
        "<nix>/bin"
        "<openssh>/bin"
        "<git-minimal>/bin"
      ];
    };

    # The module writes drop-ins only. The program and its sandbox are in the package's units.
    testUnitsAreThePackages = {
      expr = {
        packages = lib.elem minimal.config.services.nixfleet-agent.package minimal.config.systemd.packages;
        drop-ins = map (unit: minimal.config.systemd.units.${unit}.overrideStrategy) [
          "nixfleet-agent.service"
          "nixfleet-job@.service"
        ];
        starts = minimal.config.systemd.services.nixfleet-agent.serviceConfig ? ExecStart;
      };
      expected = {
        packages = true;
        drop-ins = [
          "asDropinIfExists"
          "asDropinIfExists"
        ];
        starts = false;
      };
    };

    testUserFoldersAndRule = {
      expr =
        let
          inherit (minimal) config;
          inherit (config.services.nixfleet-agent) package;
          user = config.users.users.nixfleet-agent;
        in
        {
          inherit (user) isSystemUser group home;
          group' = config.users.groups ? nixfleet-agent;
          extraGroups = user.extraGroups;
          polkit = config.security.polkit.enable;
          linked = lib.elem "/share/polkit-1" config.environment.pathsToLink;
          onPath = lib.elem package config.environment.systemPackages;
          folders = lib.elem package config.systemd.tmpfiles.packages;
        };
      expected = {
        isSystemUser = true;
        group = "nixfleet-agent";
        home = "/var/lib/nixfleet-agent";
        group' = true;
        extraGroups = [ ];
        polkit = true;
        linked = true;
        onPath = true;
        folders = true;
      };
    };

    testHeartbeatAlone = {
      expr = {
        unit = unitText heartbeat "nixfleet-heartbeat.service";
        conf = heartbeat.config.environment.etc."heartbeat.conf".text;
        agent = heartbeat.config.systemd.units ? "nixfleet-agent.service";
        settings = heartbeat.config.environment.etc ? "nixfleet/agent.toml";
        complaints = complaints heartbeat;
      };
      expected = {
        unit = ''
          [Unit]
          X-Reload-Triggers=<X-Reload-Triggers-nixfleet-heartbeat>

          [Service]

          [Install]
          WantedBy=multi-user.target
        '';
        conf = ''
          INTERVAL=10
          FORMAT=avocado
        '';
        agent = false;
        settings = false;
        complaints = [ ];
      };
    };

    testNothingUnlessEnabled = {
      expr = {
        units = lib.filter (lib.hasPrefix "nixfleet") (lib.attrNames disabled.config.systemd.units);
        etc =
          disabled.config.environment.etc ? "nixfleet/agent.toml"
          || disabled.config.environment.etc ? "heartbeat.conf";
        user = disabled.config.users.users ? nixfleet-agent;
      };
      expected = {
        units = [ ];
        etc = false;
        user = false;
      };
    };

    testAnotherPackage = {
      expr =
        let
          package = minimal.config.services.nixfleet-agent.package.override { sourceCommit = "0123abc"; };
          other = with' { inherit package; };
        in
        {
          same = package.drvPath == minimal.config.services.nixfleet-agent.package.drvPath;
          compiledAnew =
            package.unwrapped.drvPath != minimal.config.services.nixfleet-agent.package.unwrapped.drvPath;
          units = lib.elem package other.config.systemd.packages;
        };
      expected = {
        same = false;
        compiledAnew = false;
        units = true;
      };
    };

    testNoComplaints = {
      expr = {
        minimal = complaints minimal ++ minimal.config.warnings;
        full = complaints full ++ full.config.warnings;
      };
      expected = {
        minimal = [ ];
        full = [ ];
      };
    };

    # Options and settings together.

    testSettingsWinOverDefaults = {
      expr =
        let
          settings = settingsOf (with' {
            settings.interval = 60;
            settings.repo.branch = "stable";
          });
        in
        [
          settings.interval
          settings.repo.branch
        ];
      expected = [
        60
        "stable"
      ];
    };

    testSettingsAreEnough = {
      expr =
        let
          host = agent {
            inherit (required) tokenFile;
            settings.url = "wss://fleet.example.org";
            settings.commands.date.run = [ "date" ];
          };
        in
        [
          (settingsOf host).url
          (settingsOf host).commands.date
          (complaints host)
        ];
      expected = [
        "wss://fleet.example.org"
        { run = [ "date" ]; }
        [ ]
      ];
    };

    testTwoAnswersAreAnError = {
      expr = {
        same = evaluates (
          settingsOf (with' {
            interval = 60;
            settings.interval = 60;
          })
        );
        different = evaluates (
          settingsOf (with' {
            interval = 20;
            settings.interval = 60;
          })
        );
        forced =
          (settingsOf (with' {
            interval = lib.mkForce 20;
            settings.interval = 60;
          })).interval;
      };
      expected = {
        same = true;
        different = false;
        forced = 20;
      };
    };

    # What the module refuses.

    testNothingSet = {
      expr = complaints (agent { });
      expected = [
        ''services.nixfleet-agent.tokenFile is not set. Set it to a file on the host that holds the token and nothing else, such as "/run/secrets/nixfleet-token".''
        ''services.nixfleet-agent.url is not set. Set it to the address of the dashboard, such as "wss://fleet.example.org/ws".''
      ];
    };

    testSecretsInTheStore = {
      expr =
        let
          # Files in the store; their hashes do not matter.
          host = with' {
            tokenFile = ./module-check.nix;
            repo.sshKeyFile = "${builtins.storeDir}/some-key";
            settings.token = "secret";
          };
        in
        map (
          text: lib.replaceStrings [ (toString ./module-check.nix) builtins.storeDir ] [ "FILE" "STORE" ] text
        ) (complaints host);
      expected = [
        ''services.nixfleet-agent.tokenFile is FILE, in the Nix store or on its way there, where everyone could read the token. Write the path of a file on the host, in quotes, such as "/run/secrets/nixfleet-token"; sops-nix and agenix make such files.''
        "services.nixfleet-agent.settings.token would be readable by everyone in the Nix store. Write the token into a file on the host and name it in services.nixfleet-agent.tokenFile."
        ''services.nixfleet-agent.repo.sshKeyFile is STORE/some-key, in the Nix store or on its way there, where everyone could read the key. Write the path of a file on the host, in quotes, such as "/run/secrets/fleet-key".''
      ];
    };

    testSecretsAsUnquotedPaths = {
      expr = map (lib.substring 0 60) (
        complaints (with' {
          tokenFile = /run/secrets/token;
          repo.sshKeyFile = /run/secrets/key;
        })
      );
      expected = [
        "services.nixfleet-agent.tokenFile is /run/secrets/token, in "
        "services.nixfleet-agent.repo.sshKeyFile is /run/secrets/key,"
      ];
    };

    testWhatTheUnitsOwn = {
      expr = complaints (with' {
        settings = {
          token_file = "/run/token";
          state_dir = "/srv/agent";
          jobs.dir = "/srv/jobs";
        };
      });
      expected = [
        "services.nixfleet-agent.settings.token_file cannot be set: systemd reads the token for the agent, whose user cannot read the file. Name it in services.nixfleet-agent.tokenFile."
        "services.nixfleet-agent.settings.state_dir cannot be set: the units keep all state in /var/lib/nixfleet-agent. Remove it; to have it elsewhere, mount or link something there."
        "services.nixfleet-agent.settings.jobs.dir cannot be set: the units keep all jobs in /var/lib/nixfleet-agent/jobs. Remove it; to have it elsewhere, mount or link something there."
      ];
    };

    testAddresses = {
      expr =
        lib.genAttrs
          [
            "wss://fleet.example.org"
            "ws://localhost:8000/ws"
            "ws://127.0.0.1:8000/ws"
            "ws://[::1]:8000/ws"
            "ws://fleet.example.org:8000/ws"
            "ws://localhost.example.org/ws"
            "ws://127.example.org/ws"
            "ws://[2001:db8::1]/ws"
            "http://localhost:8000/ws"
            "http://fleet.example.org:8000/ws"
            "https://fleet.example.org"
          ]
          (
            url:
            complaints (agent {
              inherit (required) tokenFile;
              inherit url;
            })
          );
      expected =
        let
          unencrypted = url: [
            ''services.nixfleet-agent.url is "${url}", which would send the token unencrypted to another machine. Write wss://, or set services.nixfleet-agent.settings.allow_insecure = true on a network you trust.''
          ];
          web = url: scheme: instead: [
            ''services.nixfleet-agent.url is "${url}", but ${scheme}:// is for web pages. Write "${instead}".''
          ];
        in
        {
          "wss://fleet.example.org" = [ ];
          "ws://localhost:8000/ws" = [ ];
          "ws://127.0.0.1:8000/ws" = [ ];
          "ws://[::1]:8000/ws" = [ ];
          "ws://fleet.example.org:8000/ws" = unencrypted "ws://fleet.example.org:8000/ws";
          "ws://localhost.example.org/ws" = unencrypted "ws://localhost.example.org/ws";
          "ws://127.example.org/ws" = unencrypted "ws://127.example.org/ws";
          "ws://[2001:db8::1]/ws" = unencrypted "ws://[2001:db8::1]/ws";
          "http://localhost:8000/ws" = web "http://localhost:8000/ws" "http" "ws://localhost:8000/ws";
          "http://fleet.example.org:8000/ws" =
            web "http://fleet.example.org:8000/ws" "http"
              "wss://fleet.example.org:8000/ws";
          "https://fleet.example.org" = web "https://fleet.example.org" "https" "wss://fleet.example.org";
        };
    };

    testUnencryptedOnPurpose = {
      expr = complaints (agent {
        inherit (required) tokenFile;
        url = "ws://10.0.0.1/ws";
        settings.allow_insecure = true;
      });
      expected = [ ];
    };

    testHostnames = {
      expr =
        lib.genAttrs
          [
            "web-1"
            "web_1.example.org"
            "_db_1_"
            "___"
            "wëb"
            ""
            (lib.concatStrings (lib.genList (_: "x") 64))
          ]
          (
            hostname:
            complaints (with' {
              inherit hostname;
            })
          );
      expected =
        let
          bad = text: [
            ''services.nixfleet-agent.hostname is "${text}", which is not 1 to 63 letters, digits and hyphens. Set it to a short name such as "web-1"; by default it is networking.hostName.''
          ];
          long = lib.concatStrings (lib.genList (_: "x") 64);
        in
        {
          "web-1" = [ ];
          "web_1.example.org" = [
            ''services.nixfleet-agent.hostname is "web_1.example.org", and dashboards refuse a host with an underscore in its name. Set services.nixfleet-agent.hostname = "web-1", and services.nixfleet-agent.rebuild.flakeAttr = "web_1", its name in the flake. By default hostname is networking.hostName, which need not change.''
          ];
          "_db_1_" = [
            ''services.nixfleet-agent.hostname is "_db_1_", and dashboards refuse a host with an underscore in its name. Set services.nixfleet-agent.hostname = "db-1", and services.nixfleet-agent.rebuild.flakeAttr = "_db_1_", its name in the flake. By default hostname is networking.hostName, which need not change.''
          ];
          "___" = bad "___";
          "wëb" = bad "wëb";
          "" = bad "";
          ${long} = bad long;
        };
    };

    # NixOS allows it, so the name comes from there without anybody having written it here.
    testUnderscoreFromNixos = {
      expr =
        let
          complaintsWith =
            settings:
            complaints (host {
              networking.hostName = "my_host";
              services.nixfleet-agent = {
                enable = true;
              }
              // required
              // settings;
            });
        in
        {
          asIs = complaintsWith { };
          named = complaintsWith { rebuild.flakeAttr = "my_host"; };
          mended = complaintsWith {
            hostname = "my-host";
            rebuild.flakeAttr = "my_host";
          };
        };
      expected = {
        asIs = [
          ''services.nixfleet-agent.hostname is "my_host", and dashboards refuse a host with an underscore in its name. Set services.nixfleet-agent.hostname = "my-host", and services.nixfleet-agent.rebuild.flakeAttr = "my_host", its name in the flake. By default hostname is networking.hostName, which need not change.''
        ];
        named = [
          ''services.nixfleet-agent.hostname is "my_host", and dashboards refuse a host with an underscore in its name. Set services.nixfleet-agent.hostname = "my-host". By default hostname is networking.hostName, which need not change.''
        ];
        mended = [ ];
      };
    };

    testShortenedName = {
      expr =
        lib.mapAttrs
          (
            _: settings:
            let
              named = with' ({ hostname = "web-1.example.org"; } // settings);
            in
            complaints named ++ named.config.warnings
          )
          {
            alone = { };
            attribute.settings.rebuild.flake_attr = "web-1.example.org";
            short.hostname = lib.mkForce "web-1";
            both.settings.hostname = lib.mkForce "web_1.example.org";
          };
      expected = {
        alone = [
          ''services.nixfleet-agent.hostname is "web-1.example.org", which is shortened to "web-1" for the dashboard and in the flake. If that is right, set services.nixfleet-agent.hostname = "web-1". If the configuration in the flake has the long name, also set services.nixfleet-agent.rebuild.flakeAttr = "web-1.example.org".''
        ];
        attribute = [
          ''services.nixfleet-agent.hostname is "web-1.example.org", which is shortened to "web-1" for the dashboard. If that is right, set services.nixfleet-agent.hostname = "web-1".''
        ];
        short = [ ];
        # Only what is wrong with the short name: there is no use in two messages.
        both = [
          ''services.nixfleet-agent.hostname is "web_1.example.org", and dashboards refuse a host with an underscore in its name. Set services.nixfleet-agent.hostname = "web-1", and services.nixfleet-agent.rebuild.flakeAttr = "web_1", its name in the flake. By default hostname is networking.hostName, which need not change.''
        ];
      };
    };

    # The default is the agent's own, so the file does not have it.
    testGeneration = {
      expr = lib.mapAttrs (_: settings: (settingsOf (with' settings)).generation or "not written") {
        default = { };
        deployed.generation = "deployed";
        checkout.generation = "checkout";
        settings.settings.generation = "checkout";
      };
      expected = {
        default = "not written";
        deployed = "not written";
        checkout = "checkout";
        settings = "checkout";
      };
    };

    # Nix says "is not of type" and these words.
    testLimitsInTypes = {
      expr =
        let
          options = minimal.options.services.nixfleet-agent;
        in
        [
          options.interval.type.description
          options.heartbeat.interval.type.description
          options.generation.type.description
        ];
      expected = [
        "integer between 1 and 3600 (both inclusive)"
        "integer between 1 and 86400 (both inclusive)"
        ''one of "deployed", "checkout"''
      ];
    };

    testCommands = {
      expr =
        let
          run = [ "date" ];
          long = lib.concatStrings (lib.genList (_: "x") 32);
        in
        complaints (with' {
          commands = {
            "-x" = { inherit run; };
            "Backup" = { inherit run; };
            "${long}" = { inherit run; };
            "${long}x" = { inherit run; };
            both = {
              inherit run;
              steps = [ run ];
            };
            neither.description = "Nothing";
            switch = { inherit run; };
          };
          settings.commands.pull.run = [ "git" ];
        });
      expected =
        let
          badName =
            name:
            ''services.nixfleet-agent.commands."${name}" is not a name for a command. Choose up to 32 lower-case letters, digits and hyphens, the first one no hyphen, such as "backup".'';
          badSteps =
            name: what:
            ''services.nixfleet-agent.commands."${name}" has ${what}. Set run to one program with its arguments, or steps to a list of several, and not both.'';
          taken =
            name:
            "services.nixfleet-agent.commands.${name} is a command that the agent has itself. Choose another name.";
        in
        [
          (badName "-x")
          (badName "Backup")
          (badSteps "both" "both run and steps")
          (badSteps "neither" "neither run nor steps")
          (taken "pull")
          (taken "switch")
          (badName "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx")
        ];
    };

    # The module must know all names of the program. For a missing one, the program would refuse the
    # configuration only when the system is built.
    testBuiltInNames = {
      expr =
        let
          source = lib.readFile ../crates/config/src/custom.rs;
          list = lib.head (builtins.match ".*BUILT_IN: &\\[&str] = &\\[([^]]*)].*" source);
          names = lib.concatLists (lib.filter lib.isList (builtins.split "\"([a-z-]+)\"" list));
        in
        {
          some = lib.length names > 10;
          accepted =
            lib.length names
            - lib.length (
              complaints (with' {
                commands = lib.genAttrs names (_: {
                  run = [ "date" ];
                });
              })
            );
        };
      expected = {
        some = true;
        accepted = 0;
      };
    };

    testTypes = {
      expr = lib.mapAttrs (_: settings: evaluates (settingsOf (with' settings))) {
        interval-0 = {
          interval = 0;
        };
        interval-3601 = {
          interval = 3601;
        };
        timeout-0 = {
          commands.x = {
            run = [ "date" ];
            timeout = 0;
          };
        };
        no-program = {
          commands.x.run = [ ];
        };
        no-steps = {
          commands.x.steps = [ ];
        };
        relative-checkout = {
          repo.dir = "fleet";
        };
        location = {
          location = "moon";
        };
        log-format = {
          rebuild.logFormat = "json";
        };
        generation = {
          generation = "HEAD";
        };
        # Values that TOML cannot represent.
        null-setting = {
          settings.ca_file = null;
        };
      };
      expected = lib.genAttrs [
        "interval-0"
        "interval-3601"
        "timeout-0"
        "no-program"
        "no-steps"
        "relative-checkout"
        "location"
        "log-format"
        "generation"
        "null-setting"
      ] (_: false);
    };

    # The old names of the options.

    testRenamedOptions = {
      expr =
        let
          host = with' {
            configRepo = "/srv/fleet";
            repoUrl = "https://git.example.org/fleet.git";
            branch = "stable";
            sshKeyFile = "/run/secrets/fleet-key";
          };
        in
        {
          inherit (settingsOf host) repo;
          # Old name, new name.
          renamed = lib.sort lib.lessThan (
            map (
              text:
              lib.concatStringsSep " -> " (
                builtins.match "The option `services.nixfleet-agent.([a-zA-Z]*)' .* has been renamed to `services.nixfleet-agent.([a-zA-Z.]*)'." text
              )
            ) host.config.warnings
          );
        };
      expected = {
        repo = {
          dir = "/srv/fleet";
          url = "https://git.example.org/fleet.git";
          branch = "stable";
          ssh_key = "/run/secrets/fleet-key";
        };
        renamed = [
          "branch -> repo.branch"
          "configRepo -> repo.dir"
          "repoUrl -> repo.url"
          "sshKeyFile -> repo.sshKeyFile"
        ];
      };
    };

    testRemovedOptions = {
      expr = lib.sort lib.lessThan (
        map (text: lib.last (lib.splitString "no longer has any effect; please remove it. " text)) (
          complaints (with' {
            nixpkgsVersion = "25.11";
            user = "alice";
            version = "3.1.5";
          })
        )
      );
      expected = [
        "The agent has a user of its own, which may do nothing but start jobs; jobs run as root. Remove the option. A checkout that belongs to a person stays theirs: git runs as the owner of the folder."
        "The agent reads the version from the running system. To report another one, set services.nixfleet-agent.settings.nixpkgs_version."
        "The agent reports its own version. To report another one, such as the one that the dashboard expects, set services.nixfleet-agent.settings.reported_version."
      ];
    };
  };
in
report "module-check" "nix/module.nix" tests
