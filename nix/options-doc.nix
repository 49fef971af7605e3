# Generates docs/options.md. The file is also in the repository, so that it can be read there; a check
# compares both.
{
  pkgs,
  lib,
  host,
}:

let
  inherit (host { }) options;

  documented =
    (pkgs.nixosOptionsDoc { options.services = { inherit (options.services) nixfleet-agent; }; })
    .optionsNix;

  # Plain text, or marked as Nix code or as text with markup.
  text = value: if lib.isString value then value else value.text;
  code =
    value:
    let
      written = lib.trim (text value);
    in
    if lib.hasInfix "\n" written then "\n\n  ```nix\n${indented written}\n  ```" else " `${written}`";
  indented = block: lib.concatMapStringsSep "\n" (line: "  ${line}") (lib.splitString "\n" block);

  entry =
    name: option:
    lib.concatStringsSep "\n" (
      [
        "## ${lib.replaceStrings [ "<" ">" ] [ "\\<" "\\>" ] name}"
        ""
        (lib.trim (text option.description))
        ""
        "* Type: ${option.type}"
      ]
      ++ lib.optional (option ? default) "* Default:${code option.default}"
      ++ lib.optional (option ? example) "* Example:${code option.example}"
    );

  markdown =
    lib.concatStringsSep "\n\n" (
      [
        "# Options of the NixOS module"
        "Made from `nix/module/`. How to use them is in [nixos.md](nixos.md)."
      ]
      ++ lib.mapAttrsToList entry documented
    )
    + "\n";

  same = lib.pathExists ../docs/options.md && builtins.readFile ../docs/options.md == markdown;
in
pkgs.runCommand "options-doc" { passthru = { inherit markdown; }; } (
  if same then
    "touch $out"
  else
    throw ''
      docs/options.md does not say what nix/module does. Make it anew:
        nix eval --raw .#checks.${pkgs.stdenv.hostPlatform.system}.options-doc.markdown > docs/options.md
    ''
)
