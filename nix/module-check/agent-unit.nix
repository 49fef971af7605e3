# The unit of the agent: its credentials and its variables.
{
  pkgs,
  lib,
  hosts,
}:

let
  inherit (hosts)
    on
    with'
    minimal
    full
    unitText
    ;

  # The minimum, on a host with this version of systemd.
  ofSystemd =
    version:
    on {
      systemd.package = pkgs.systemd // {
        inherit version;
      };
    };
in
{
  testAgentUnit = {
    expr = unitText (ofSystemd "257.10" { }) "nixfleet-agent.service";
    expected = ''
      [Unit]
      X-Restart-Triggers=<X-Restart-Triggers-nixfleet-agent>

      [Service]
      X-StopIfChanged=false
      LoadCredential=
      LoadCredential=token:/run/secrets/nixfleet-token

      [Install]
      WantedBy=multi-user.target
    '';
  };

  # Since 260, systemd passes new credentials at a reload. Versions before warn of the key.
  testReloadPassesCredentials =
    let
      versions = {
        "257.10" = null;
        "259.2" = null;
        "260" = "credentials";
        "260.2" = "credentials";
        "262" = "credentials";
      };
    in
    {
      expr = lib.mapAttrs (
        version: refreshed:
        let
          unit = (ofSystemd version { }).config.systemd.services.nixfleet-agent.serviceConfig;
        in
        (unit.RefreshOnReload or null) == refreshed
      ) versions;
      expected = lib.mapAttrs (_: _: true) versions;
    };

  testClientCertificate = {
    expr =
      let
        unit =
          (with' {
            clientCertFile = "/run/secrets/50%-cert";
            clientKeyFile = "/run/secrets/50%-key";
          }).config.systemd.services.nixfleet-agent.serviceConfig;
        ofTheFlake =
          (with' {
            clientCertFile = ./agent-unit.nix;
            clientKeyFile = "/run/secrets/key";
          }).config.systemd.services.nixfleet-agent.serviceConfig.LoadCredential;
      in
      {
        load = unit.LoadCredential;
        instead = unit.SetCredential;
        # With its context, so that it gets to the host.
        copied = map (line: lib.hasInfix builtins.storeDir line && builtins.hasContext line) ofTheFlake;
      };
    expected = {
      load = [
        ""
        "token:/run/secrets/nixfleet-token"
        "client-cert:/run/secrets/50%%-cert"
        "client-key:/run/secrets/50%%-key"
      ];
      instead = [
        "client-cert:no client certificate was passed"
        "client-key:no client certificate was passed"
      ];
      copied = [
        false
        false
        true
        false
      ];
    };
  };

  # The agent follows networking.proxy, unless it has a proxy of its own.
  testProxyOfTheAgentUnit =
    let
      proxied = on { networking.proxy.default = "http://proxy.example.org:3128"; };
      variables =
        host:
        lib.attrNames (
          lib.filterAttrs (
            name: _: lib.hasSuffix "_proxy" name
          ) host.config.systemd.services.nixfleet-agent.environment
        );
      own = proxied {
        proxy = "socks5h://proxy.example.org";
        proxyLoginFile = "/run/secrets/50%-login";
      };
      direct = proxied { proxy = "none"; };
      credentials = host: host.config.systemd.services.nixfleet-agent.serviceConfig;
    in
    {
      expr = {
        byDefault = lib.elem "https_proxy" (variables (proxied { }));
        withoutAny = variables minimal;
        own = variables own;
        ownSetting = own.config.services.nixfleet-agent.settings.proxy;
        directSetting = direct.config.services.nixfleet-agent.settings.proxy;
        load = (credentials own).LoadCredential;
        instead = (credentials own).SetCredential;
        noneInstead = (credentials minimal) ? SetCredential;
      };
      expected = {
        byDefault = true;
        withoutAny = [ ];
        own = [ ];
        ownSetting = "socks5h://proxy.example.org";
        directSetting = "none";
        load = [
          ""
          "token:/run/secrets/nixfleet-token"
          "proxy-login:/run/secrets/50%%-login"
        ];
        instead = [ "proxy-login:no login was passed" ];
        noneInstead = false;
      };
    };

  # systemd interprets a percent sign, so it is doubled. Both credentials come after the empty line.
  testAgentUnitOfTheFullHost = {
    expr = lib.filter (lib.hasPrefix "LoadCredential=") (
      lib.splitString "\n" (unitText full "nixfleet-agent.service")
    );
    expected = [
      "LoadCredential="
      "LoadCredential=token:/run/secrets/50%%-token"
      "LoadCredential=other:/run/secrets/other"
    ];
  };
}
