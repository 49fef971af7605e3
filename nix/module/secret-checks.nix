# Assertions against secrets in the Nix store, for this module and for that of Home Manager.
{ lib }:

let
  inherit (import ./names.nix) module;

  # A path without quotes is copied there when a file is made with it.
  inStore = path: path != null && (builtins.isPath path || lib.hasPrefix builtins.storeDir path);
in
{
  # `hint` follows the words "in quotes".
  fileIsOutside =
    {
      option,
      file,
      secret,
      hint ? "",
    }:
    {
      assertion = !inStore file;
      message = ''
        ${module}.${option} is ${toString file}, in the Nix store or on its way there, where
        everyone could read the ${secret}. Write the path of a file on the host, in quotes${hint}.
      '';
    };

  tokenIsNoSetting = settings: {
    assertion = !settings ? token;
    message = ''
      ${module}.settings.token would be readable by everyone in the Nix store.
      Write the token into a file on the host and name it in ${module}.tokenFile.
    '';
  };
}
