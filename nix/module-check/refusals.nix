# What the module refuses: addresses, commands, and values of another type.
{ lib, hosts, ... }:

let
  inherit (hosts)
    agent
    on
    with'
    required
    minimal
    full
    settingsOf
    complaints
    evaluates
    ;
in
{
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

  testNothingSet = {
    expr = complaints (agent { });
    expected = [
      ''services.nixfleet-agent.tokenFile is not set. Set it to a file on the host that holds the token and nothing else, such as "/run/secrets/nixfleet-token".''
      ''services.nixfleet-agent.url is not set. Set it to the address of the dashboard, such as "wss://fleet.example.org/ws".''
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

  # A guard that could never let a switch pass, and one that would never be armed.
  testRollbackThatCannotPass = {
    expr = lib.mapAttrs (_: settings: complaints (with' settings)) {
      all.rollback = {
        confirmTimeout = 60;
        hold = 59;
      };
      hold.rollback.hold = 10;
      checks.settings.rollback.checks = [ { run = [ "true" ]; } ];
      long = {
        rollback.hold = 60;
        settings.rollback.confirm_timeout = 60;
      };
    };
    expected =
      let
        alone =
          what:
          "services.nixfleet-agent.rollback has ${what}, but no confirmTimeout, so nothing would ever be taken back. Set services.nixfleet-agent.rollback.confirmTimeout to the seconds within which a new system must be confirmed, such as 300, or remove the other options.";
      in
      {
        all = [ ];
        hold = [ (alone "hold") ];
        checks = [ (alone "checks") ];
        long = [
          "services.nixfleet-agent.rollback.hold is 60 s, and confirmTimeout is 60 s. The connection must hold within that time, so no system could ever be confirmed, and every switch would be taken back. Set confirmTimeout to more than hold and the time that the host needs to connect, such as 360."
        ];
      };
  };

  testRollbackOfASystemThatCannotBeSwitched = {
    expr = complaints (on { system.switch.enable = false; } { rollback.confirmTimeout = 300; });
    expected = [
      "services.nixfleet-agent.rollback.confirmTimeout is set, but system.switch.enable is false. This system has no switch-to-configuration, so the host could not be brought back to it. Set system.switch.enable = true, or remove confirmTimeout."
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
        source = lib.readFile ../../crates/config/src/custom.rs;
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
      no-time = {
        rollback.confirmTimeout = 0;
      };
      no-check = {
        rollback.checks = [ { run = [ ]; } ];
      };
      relative-netrc = {
        rebuild.netrcFile = "netrc";
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
      "no-time"
      "no-check"
      "relative-netrc"
    ] (_: false);
  };
}
