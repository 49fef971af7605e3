# services.nixfleet-agent.rollback: a switch that nobody can confirm is taken back.
{
  config,
  lib,
  ...
}:

let
  inherit (lib) literalExpression mkOption types;
  inherit (import ./names.nix) module;

  cfg = config.services.nixfleet-agent;

  # What is written to the file, so that values in `settings` are checked too.
  written = cfg.settings.rollback or { };
  timeout = written.confirm_timeout or null;
  hold = written.hold or null;
  checks = written.checks or [ ];

  check = assertion: message: { inherit assertion message; };
in
{
  options.services.nixfleet-agent.rollback = {
    confirmTimeout = mkOption {
      type = types.nullOr (types.ints.between 5 3600);
      default = null;
      example = 300;
      description = ''
        Seconds that a new system has, after its activation by `switch` or `pull-switch`, to prove that the
        dashboard can still reach this host. If the proof does not come, the host goes back to the system
        that ran before. If null, a switch is final, as `nixos-rebuild switch` is.

        The proof is a registration on a connection that was opened after the activation, that has held for
        `rollback.hold` seconds, and the success of all `rollback.checks`. Only then the profile and the boot
        loader get the new system. Until then a power cut, a reset or a reboot is a way back as well. A unit
        of its own, `nixfleet-rollback@<id>.service`, watches over it. It needs neither the agent nor the
        network nor the dashboard. The status of the command says `rolled_back`, and why. If the activation
        itself fails, the host goes back at once, unless only some units failed.

        What it does not promise: It activates the old system, and does not undo what programs of the new
        one have written, such as a database in a newer format. It says nothing about the next boot: a kernel
        or a file system that fails there needs boot counting (`bootComplete.enable`). A kernel that hangs
        needs a hardware watchdog, whose reset boots the old system. It is not armed if the host had no
        connection when the system was built, which the log says; nor for `rollback`, `boot`, commands of your
        own and a switch by hand. If the dashboard goes down meanwhile, a good system is taken back as well.

        Allow for the time that your slowest host and your dashboard need to be back: a time that is too
        short takes back switches that were good.
      '';
    };

    hold = mkOption {
      type = types.nullOr (types.ints.between 0 600);
      default = null;
      example = 30;
      description = ''
        Seconds that the new connection must hold. If null, 10. They are part of `rollback.confirmTimeout`, and
        must be fewer.
      '';
    };

    checks = mkOption {
      type = types.listOf (
        types.submodule {
          options = {
            run = mkOption {
              type = types.nonEmptyListOf types.str;
              example = literalExpression ''[ (lib.getExe' config.systemd.package "systemctl") "is-active" "nginx.service" ]'';
              description = "Program and arguments; no shell reads them. Exit code 0 is a success.";
            };
            timeout = mkOption {
              type = types.nullOr (types.ints.between 1 600);
              default = null;
              example = 10;
              description = "Seconds until the program counts as failed. If null, 30.";
            };
          };
        }
      );
      default = [ ];
      example = literalExpression ''
        [
          {
            run = [ (lib.getExe pkgs.curl) "--fail" "http://localhost/health" ];
            timeout = 10;
          }
        ]
      '';
      description = ''
        Programs that must succeed as well before a new system is confirmed. They run as root, on the new
        system, once the connection has held; those that fail run again until the time is over. The list is
        that of the system that ran before: it decides what may replace it.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      (check (timeout == null -> hold == null && checks == [ ]) ''
        ${module}.rollback has ${
          if hold != null then "hold" else "checks"
        }, but no confirmTimeout, so nothing would ever be taken back.
        Set ${module}.rollback.confirmTimeout to the seconds within which a new system must be confirmed,
        such as 300, or remove the other options.
      '')
      (check (timeout != null && hold != null -> hold < timeout) ''
        ${module}.rollback.hold is ${toString hold} s, and confirmTimeout is ${toString timeout} s. The connection must hold within
        that time, so no system could ever be confirmed, and every switch would be taken back.
        Set confirmTimeout to more than hold and the time that the host needs to connect, such as ${
          toString ((if hold == null then 0 else hold) + 300)
        }.
      '')
      (check (timeout != null -> config.system.switch.enable or true) ''
        ${module}.rollback.confirmTimeout is set, but system.switch.enable is false. This system has no
        switch-to-configuration, so the host could not be brought back to it.
        Set system.switch.enable = true, or remove confirmTimeout.
      '')
    ];
  };
}
