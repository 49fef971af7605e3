# Names of hosts: those that dashboards refuse, and those that are shortened.
{ lib, hosts, ... }:

let
  inherit (hosts)
    on
    with'
    complaints
    ;
in
{
  testHostnames = {
    expr =
      lib.genAttrs
        [
          "web-1"
          "web_1.example.org"
          "_db_1_"
          "___"
          "wëb"
          ""
          (lib.concatStrings (lib.genList (_: "x") 64))
        ]
        (
          hostname:
          complaints (with' {
            inherit hostname;
          })
        );
    expected =
      let
        bad = text: [
          ''services.nixfleet-agent.hostname is "${text}", which is not 1 to 63 letters, digits and hyphens. Set it to a short name such as "web-1"; by default it is networking.hostName.''
        ];
        long = lib.concatStrings (lib.genList (_: "x") 64);
      in
      {
        "web-1" = [ ];
        "web_1.example.org" = [
          ''services.nixfleet-agent.hostname is "web_1.example.org", and dashboards refuse a host with an underscore in its name. Set services.nixfleet-agent.hostname = "web-1", and services.nixfleet-agent.rebuild.flakeAttr = "web_1", its name in the flake. By default hostname is networking.hostName, which need not change.''
        ];
        "_db_1_" = [
          ''services.nixfleet-agent.hostname is "_db_1_", and dashboards refuse a host with an underscore in its name. Set services.nixfleet-agent.hostname = "db-1", and services.nixfleet-agent.rebuild.flakeAttr = "_db_1_", its name in the flake. By default hostname is networking.hostName, which need not change.''
        ];
        "___" = bad "___";
        "wëb" = bad "wëb";
        "" = bad "";
        ${long} = bad long;
      };
  };

  # NixOS allows it, so the name comes from there without anybody having written it here.
  testUnderscoreFromNixos = {
    expr =
      let
        complaintsWith = settings: complaints (on { networking.hostName = "my_host"; } settings);
      in
      {
        asIs = complaintsWith { };
        named = complaintsWith { rebuild.flakeAttr = "my_host"; };
        mended = complaintsWith {
          hostname = "my-host";
          rebuild.flakeAttr = "my_host";
        };
      };
    expected = {
      asIs = [
        ''services.nixfleet-agent.hostname is "my_host", and dashboards refuse a host with an underscore in its name. Set services.nixfleet-agent.hostname = "my-host", and services.nixfleet-agent.rebuild.flakeAttr = "my_host", its name in the flake. By default hostname is networking.hostName, which need not change.''
      ];
      named = [
        ''services.nixfleet-agent.hostname is "my_host", and dashboards refuse a host with an underscore in its name. Set services.nixfleet-agent.hostname = "my-host". By default hostname is networking.hostName, which need not change.''
      ];
      mended = [ ];
    };
  };

  testShortenedName = {
    expr =
      lib.mapAttrs
        (
          _: settings:
          let
            named = with' ({ hostname = "web-1.example.org"; } // settings);
          in
          complaints named ++ named.config.warnings
        )
        {
          alone = { };
          attribute.settings.rebuild.flake_attr = "web-1.example.org";
          short.hostname = lib.mkForce "web-1";
          both.settings.hostname = lib.mkForce "web_1.example.org";
        };
    expected = {
      alone = [
        ''services.nixfleet-agent.hostname is "web-1.example.org", which is shortened to "web-1" for the dashboard and in the flake. If that is right, set services.nixfleet-agent.hostname = "web-1". If the configuration in the flake has the long name, also set services.nixfleet-agent.rebuild.flakeAttr = "web-1.example.org".''
      ];
      attribute = [
        ''services.nixfleet-agent.hostname is "web-1.example.org", which is shortened to "web-1" for the dashboard. If that is right, set services.nixfleet-agent.hostname = "web-1".''
      ];
      short = [ ];
      # Only what is wrong with the short name: there is no use in two messages.
      both = [
        ''services.nixfleet-agent.hostname is "web_1.example.org", and dashboards refuse a host with an underscore in its name. Set services.nixfleet-agent.hostname = "web-1", and services.nixfleet-agent.rebuild.flakeAttr = "web_1", its name in the flake. By default hostname is networking.hostName, which need not change.''
      ];
    };
  };
}
