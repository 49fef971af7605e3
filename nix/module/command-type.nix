# The type of a command of the operator's own.
{ lib }:

let
  inherit (lib) literalExpression mkOption types;

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
in
types.submodule {
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
}
