# A unit whose start takes until /run/gate exists. As part of a specialisation it holds up a switch to
# that specialisation while new units are started. Changed units have been restarted by then.
{ pkgs, ... }:
{
  systemd.services.gate = {
    description = "Waits for the test";
    wantedBy = [ "multi-user.target" ];
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
      TimeoutStartSec = "infinity";
    };
    path = [ pkgs.coreutils ];
    script = "until [ -e /run/gate ]; do sleep 0.5; done";
  };
}
