# Units, the user, and what comes with the package.
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
    disabled
    heartbeat
    complaints
    unitText
    pathOf
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
            clientCertFile = ./units.nix;
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

  # Nothing here may undo X-StopOnRemoval=false of the package's file.
  testJobUnit = {
    expr = unitText full "nixfleet-job@.service";
    expected = ''
      [Unit]

      [Service]
      Environment="NIX_PATH=nixpkgs=/srv/nixpkgs"
      Environment="all_proxy=http://proxy.example.org:3128"
      Environment="ftp_proxy=http://proxy.example.org:3128"
      Environment="http_proxy=http://proxy.example.org:3128"
      Environment="https_proxy=http://proxy.example.org:3128"
      Environment="no_proxy=127.0.0.1,localhost"
      Environment="rsync_proxy=http://proxy.example.org:3128"
      X-RestartIfChanged=false
      X-StopIfChanged=false
    '';
  };

  # The guard runs what a job runs, and no switch ends it either.
  testGuardUnit = {
    expr = {
      text = unitText full "nixfleet-rollback@.service" == unitText full "nixfleet-job@.service";
      path = pathOf full "nixfleet-rollback@" == pathOf full "nixfleet-job@";
    };
    expected = {
      text = true;
      path = true;
    };
  };

  testRegisteredUnit = {
    expr =
      let
        units = host: lib.filter (lib.hasPrefix "nixfleet") (lib.attrNames host.config.systemd.units);
        asked = with' { bootComplete.enable = true; };
        unit = "nixfleet-agent-registered.service";
      in
      {
        byDefault = lib.elem unit (units minimal);
        withoutTheAgent = lib.elem unit (
          units (with' {
            enable = false;
            bootComplete.enable = true;
          })
        );
        text = unitText asked unit;
        required = asked.config.systemd.units.${unit}.requiredBy;
        drop-in = asked.config.systemd.units.${unit}.overrideStrategy;
      };
    expected = {
      byDefault = false;
      withoutTheAgent = false;
      text = ''
        [Unit]
        Before=boot-complete.target

        [Service]
        X-RestartIfChanged=false
      '';
      required = [ "boot-complete.target" ];
      drop-in = "asDropinIfExists";
    };
  };

  testBootsAreCounted =
    let
      useless = [
        ''
          services.nixfleet-agent.bootComplete.enable is set, but this host does not count boots, so nothing waits for boot-complete.target.
          Set boot.loader.systemd-boot.bootCounting.enable = true, or remove the option.
        ''
      ];
      hosts = {
        nobody = {
          loader = { };
          warnings = useless;
        };
        menu = {
          loader.enable = true;
          warnings = useless;
        };
      }
      # Since 2026.
      // lib.optionalAttrs (minimal.options.boot.loader.systemd-boot ? bootCounting) {
        counted = {
          loader = {
            enable = true;
            bootCounting.enable = true;
          };
          warnings = [ ];
        };
        anotherLoader = {
          loader.bootCounting.enable = true;
          warnings = useless;
        };
      };
    in
    {
      expr = lib.mapAttrs (
        _: each:
        (on { boot.loader.systemd-boot = each.loader; } { bootComplete.enable = true; }).config.warnings
      ) hosts;
      expected = lib.mapAttrs (_: each: each.warnings) hosts;
    };

  # git itself fetches no files of Git LFS.
  testLfsIsOnThePath = {
    expr = map (host: lib.elem "<git-lfs>/bin" (pathOf host "nixfleet-job@")) [
      minimal
      full
      (with' { settings.repo.lfs = true; })
    ];
    expected = [
      false
      true
      true
    ];
  };

  # Without channels there is no NIX_PATH to pass on.
  testJobUnitWithoutNix = {
    expr = unitText (on { nix.enable = false; } { }) "nixfleet-job@.service";
    expected = ''
      [Unit]

      [Service]
      X-RestartIfChanged=false
      X-StopIfChanged=false
    '';
  };

  testJobPath = {
    expr = lib.take 5 (pathOf minimal "nixfleet-job@");
    expected = [
      "/run/wrappers/bin"
      "/run/current-system/sw/bin"
      "<nix>/bin"
      "<openssh>/bin"
      "<git-minimal>/bin"
    ];
  };

  # The module writes drop-ins only. The program and its sandbox are in the package's units.
  testUnitsAreThePackages = {
    expr = {
      packages = lib.elem minimal.config.services.nixfleet-agent.package minimal.config.systemd.packages;
      drop-ins = map (unit: minimal.config.systemd.units.${unit}.overrideStrategy) [
        "nixfleet-agent.service"
        "nixfleet-job@.service"
        "nixfleet-rollback@.service"
      ];
      starts = minimal.config.systemd.services.nixfleet-agent.serviceConfig ? ExecStart;
    };
    expected = {
      packages = true;
      drop-ins = [
        "asDropinIfExists"
        "asDropinIfExists"
        "asDropinIfExists"
      ];
      starts = false;
    };
  };

  testUserFoldersAndRule = {
    expr =
      let
        inherit (minimal) config;
        inherit (config.services.nixfleet-agent) package;
        user = config.users.users.nixfleet-agent;
      in
      {
        inherit (user) isSystemUser group home;
        group' = config.users.groups ? nixfleet-agent;
        extraGroups = user.extraGroups;
        polkit = config.security.polkit.enable;
        linked = lib.elem "/share/polkit-1" config.environment.pathsToLink;
        onPath = lib.elem package config.environment.systemPackages;
        folders = lib.elem package config.systemd.tmpfiles.packages;
      };
    expected = {
      isSystemUser = true;
      group = "nixfleet-agent";
      home = "/var/lib/nixfleet-agent";
      group' = true;
      extraGroups = [ ];
      polkit = true;
      linked = true;
      onPath = true;
      folders = true;
    };
  };

  testHeartbeatAlone = {
    expr = {
      unit = unitText heartbeat "nixfleet-heartbeat.service";
      conf = heartbeat.config.environment.etc."heartbeat.conf".text;
      agent = heartbeat.config.systemd.units ? "nixfleet-agent.service";
      settings = heartbeat.config.environment.etc ? "nixfleet/agent.toml";
      complaints = complaints heartbeat;
    };
    expected = {
      unit = ''
        [Unit]
        X-Reload-Triggers=<X-Reload-Triggers-nixfleet-heartbeat>

        [Service]

        [Install]
        WantedBy=multi-user.target
      '';
      conf = ''
        INTERVAL=10
        FORMAT=avocado
      '';
      agent = false;
      settings = false;
      complaints = [ ];
    };
  };

  testNothingUnlessEnabled = {
    expr = {
      units = lib.filter (lib.hasPrefix "nixfleet") (lib.attrNames disabled.config.systemd.units);
      etc =
        disabled.config.environment.etc ? "nixfleet/agent.toml"
        || disabled.config.environment.etc ? "heartbeat.conf";
      user = disabled.config.users.users ? nixfleet-agent;
    };
    expected = {
      units = [ ];
      etc = false;
      user = false;
    };
  };

  testAnotherPackage = {
    expr =
      let
        package = minimal.config.services.nixfleet-agent.package.override { sourceCommit = "0123abc"; };
        other = with' { inherit package; };
      in
      {
        same = package.drvPath == minimal.config.services.nixfleet-agent.package.drvPath;
        compiledAnew =
          package.unwrapped.drvPath != minimal.config.services.nixfleet-agent.package.unwrapped.drvPath;
        units = lib.elem package other.config.systemd.packages;
      };
    expected = {
      same = false;
      compiledAnew = false;
      units = true;
    };
  };
}
