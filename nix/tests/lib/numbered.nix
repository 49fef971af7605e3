# A command that prints "line 1", "line 2" and so on until the file /run/gate exists, and then "end". So
# it runs as long as a test needs it, also on a slow machine, and a gap in its output is visible.
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
