# Names that several files of the module use.
{
  # The set of the options, for messages.
  module = "services.nixfleet-agent";

  # The units of the package have it, too.
  stateDir = "/var/lib/nixfleet-agent";
}
