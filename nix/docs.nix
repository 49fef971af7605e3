# The documents as a site.
{
  lib,
  runCommand,
  mdbook,
}:

runCommand "nixfleet-agent-docs"
  {
    src = lib.fileset.toSource {
      root = ../docs;
      fileset = ../docs;
    };
    nativeBuildInputs = [ mdbook ];
    meta.description = "Documents of nixfleet-agent";
  }
  ''
    mdbook build "$src" --dest-dir "$out" 2>&1 | tee log
    # It ends with 0 after a warning, such as one of a page that does not exist.
    if grep -E 'WARN|ERROR' log; then exit 1; fi
  ''
