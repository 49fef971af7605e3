# What the checks of both modules share: texts to compare, and a report of what differs.
{ pkgs, lib }:

rec {
  # "/nix/store/<hash>-git-minimal-2.1/bin" is "<git-minimal>/bin".
  named =
    text:
    lib.concatMapStrings
      (part: if lib.isList part then "<${(builtins.parseDrvName (lib.head part)).name}>" else part)
      (
        builtins.split "${builtins.storeDir}/[a-z0-9]{32}-([a-zA-Z0-9+._?=-]*)" (
          builtins.unsafeDiscardStringContext text
        )
      );

  # The messages of a configuration that is refused, one line each, as a person who builds it sees them.
  complaintsOf =
    config:
    map (
      refused:
      lib.concatStringsSep " " (
        lib.filter lib.isString (builtins.split "[[:space:]]+" (lib.trim refused.message))
      )
    ) (lib.filter (each: !each.assertion) config.assertions);

  # A derivation that exists only if all tests hold. `subject` names what they test.
  report =
    name: subject: tests:
    let
      failures = lib.runTests tests;
    in
    pkgs.runCommand name { } (
      if failures == [ ] then
        "touch $out"
      else
        throw "${subject}:\n${
          lib.concatMapStringsSep "\n" (failed: ''
            ${failed.name}
              expected ${lib.generators.toPretty { indent = "  "; } failed.expected}
              got      ${lib.generators.toPretty { indent = "  "; } failed.result}
          '') failures
        }"
    );
}
