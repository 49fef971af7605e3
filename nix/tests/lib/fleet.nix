# A test as the test driver wants it: a dashboard and a host with an agent, either as virtual machines or
# as containers, and one script for both.
#
# A test is a function in a file of the folder above. It returns
#   host      a module, added to that of the host
#   script    the part of the script that follows lib/fleet.py
#   vmOnly    why it cannot run in containers; absent if it can
#   timeLimit seconds for all of it, if it needs more than others
{
  self,
  lib,
}:
let
  # Seconds. The scripts wait for states, so a long limit costs nothing on a fast machine. Under emulation
  # a boot takes a minute, and so does a switch. Each step of a script has a shorter limit of its own.
  usualLimit = 3600;

  machines = {
    vm = "nodes";
    container = "containers";
  };
in
{
  name,
  form,
  test,
}:
{ options, ... }:
let
  timeLimit = test.timeLimit or usualLimit;
in
{
  config = {
    name = "nixfleet-${name}";
    globalTimeout = timeLimit;

    defaults = {
      # Small and quick to boot.
      documentation.enable = false;
      networking.firewall.enable = false;
    };

    ${machines.${form}} = {
      dashboard.imports = [ (import ./dashboard.nix { inherit self; }) ];
      host.imports = [
        (import ./host.nix { inherit self; })
        test.host
      ];
    };

    testScript = lib.concatStringsSep "\n" [
      "TIME_LIMIT = ${toString timeLimit}"
      (builtins.readFile ./fleet.py)
      (builtins.readFile (./. + "/${form}.py"))
      test.script
    ];
  }
  # The driver asks for KVM by default, also for containers, which do not use it.
  // lib.optionalAttrs (form == "container" && options ? requiredFeatures) {
    requiredFeatures.kvm = false;
  };
}
