# The other units, the user, and what comes with the package.
{ lib, hosts, ... }:

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
in
{
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
