# The settings as a file that the agent itself has checked, when the system is built.
{ lib, pkgs }:

{
  package,
  settings,
  # Variables for the check: what the agent learns from elsewhere on the host.
  env,
}:

let
  written = (pkgs.formats.toml { }).generate "agent.toml" settings;

  checked =
    pkgs.runCommand "agent.toml"
      {
        preferLocalBuild = true;
        allowSubstitutes = false;
        inherit env;
      }
      ''
        ${lib.getExe package} --config ${written} check-config
        cp ${written} $out
      '';
in
if pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform then checked else written
