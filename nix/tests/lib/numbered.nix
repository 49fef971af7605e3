# A command that says "line 1", "line 2" .. until the file /run/gate exists, and then "end": it runs
# for as long as a test needs it, however slow the machine is, and a hole in its output shows.
{ pkgs, lib }:
[
  (toString (
    pkgs.writeShellScript "numbered" ''
      export PATH=${lib.makeBinPath [ pkgs.coreutils ]}
      n=0
      until [ -e /run/gate ]; do
        n=$((n + 1))
        echo "line $n"
        sleep 0.5
      done
      echo end
    ''
  ))
]
