# A unit that takes until /run/gate exists to start. In a specialisation it holds the switch to it
# open, at the point where new units are started: changed ones have been restarted by then.
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
