# What is written to agent.toml, and what counts where an option and a setting meet.
{
  pkgs,
  lib,
  hosts,
}:

let
  inherit (hosts)
    named
    agent
    on
    with'
    required
    minimal
    full
    settingsOf
    complaints
    evaluates
    etc
    ;
in
{
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
        submodules = true;
        lfs = true;
      };
      rebuild = {
        program = [
          "nixos-rebuild"
          "--fast"
        ];
        flake_attr = "web";
        extra_args = [ "--impure" ];
        log_format = "bar-with-logs";
        env.NIX_SSHOPTS = "-p 2222";
        netrc_file = "/run/secrets/netrc";
        access_tokens_file = "/run/secrets/access-tokens";
      };
      rollback = {
        confirm_timeout = 300;
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

  # What is not set is left to the agent.
  testRollback = {
    expr = lib.mapAttrs (_: settings: (settingsOf (with' settings)).rollback or "not written") {
      none = { };
      time.rollback.confirmTimeout = 120;
      settings.settings.rollback.confirm_timeout = 120;
      both = {
        rollback.checks = [ { run = [ "a" ]; } ];
        settings.rollback = {
          confirm_timeout = 120;
          checks = [ { run = [ "b" ]; } ];
        };
      };
    };
    expected = {
      none = "not written";
      time.confirm_timeout = 120;
      settings.confirm_timeout = 120;
      # Lists are joined.
      both = {
        confirm_timeout = 120;
        checks = [
          { run = [ "b" ]; }
          { run = [ "a" ]; }
        ];
      };
    };
  };

  testNoNameLeavesItToTheKernel = {
    expr =
      let
        nameless = on { networking.hostName = ""; } { };
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
}
