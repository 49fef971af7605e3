# Mistakes that make the build fail, each with what to do.
{ config, lib, ... }:

let
  inherit (import ./names.nix) module stateDir;
  secrets = import ./secret-checks.nix { inherit lib; };

  cfg = config.services.nixfleet-agent;

  # The agent's built-in commands. It refuses custom commands with these names.
  builtIn = [
    "clone"
    "pull"
    "switch"
    "boot"
    "pull-switch"
    "test"
    "rollback"
    "update"
    "stop"
    "kill"
    "restart"
    "reboot"
    "check-version"
    "refresh-git"
    "refresh-lock"
    "refresh-system"
    "refresh-all"
  ];

  check = assertion: message: { inherit assertion message; };

  settingsChecks =
    let
      inherit (cfg) settings;
      url = settings.url or "";
      split = builtins.match "([a-z]+)://(\\[[^]]*]|[^/:?#]*)(.*)" url;
      scheme = if split == null then "" else lib.elemAt split 0;
      host = if split == null then "" else lib.elemAt split 1;
      rest = if split == null then "" else lib.elemAt split 2;
      isLocal = host == "localhost" || host == "[::1]" || builtins.match "127\\.[0-9.]+" host != null;
      # An option of `rebuild`, or else the setting: its path as it was written.
      written =
        option: setting:
        if cfg.rebuild.${option} != null then
          cfg.rebuild.${option}
        else
          (settings.rebuild or { }).${setting} or null;
      key = if cfg.repo.sshKeyFile != null then cfg.repo.sshKeyFile else settings.repo.ssh_key or null;
    in
    [
      (check (url != "") ''
        ${module}.url is not set.
        Set it to the address of the dashboard, such as "wss://fleet.example.org/ws".
      '')
      (check (scheme != "http" && scheme != "https") ''
        ${module}.url is "${url}", but ${scheme}:// is for web pages.
        Write "${if scheme == "http" && isLocal then "ws" else "wss"}://${host}${rest}".
      '')
      (check (scheme == "ws" -> isLocal || settings.allow_insecure or false) ''
        ${module}.url is "${url}", which would send the token unencrypted to another machine.
        Write wss://, or set ${module}.settings.allow_insecure = true on a network you trust.
      '')
      hostnameCheck
      (secrets.tokenIsNoSetting settings)
      (check (!settings ? token_file) ''
        ${module}.settings.token_file cannot be set: systemd reads the token for the agent, whose user
        cannot read the file. Name it in ${module}.tokenFile.
      '')
      (check (!settings ? state_dir) ''
        ${module}.settings.state_dir cannot be set: the units keep all state in ${stateDir}.
        Remove it; to have it elsewhere, mount or link something there.
      '')
      (check (!(settings.jobs or { }) ? dir) ''
        ${module}.settings.jobs.dir cannot be set: the units keep all jobs in ${stateDir}/jobs.
        Remove it; to have it elsewhere, mount or link something there.
      '')
      (check (builtins.match ".*@.*" (toString (settings.proxy or "")) == null) ''
        ${module}.proxy has a login, which everyone could read in the Nix store.
        Leave it out, and write it as USER:PASSWORD into a file on the host. Name that in
        ${module}.proxyLoginFile.
      '')
      (check (!settings ? proxy_login_file) ''
        ${module}.settings.proxy_login_file cannot be set: systemd reads the login for the agent, whose user
        cannot read the file. Name it in ${module}.proxyLoginFile.
      '')
      (secrets.fileIsOutside {
        option = "proxyLoginFile";
        file = cfg.proxyLoginFile;
        secret = "login";
        hint = '', such as "/run/secrets/proxy-login"'';
      })
      (check ((cfg.clientCertFile == null) == (cfg.clientKeyFile == null)) ''
        ${module}.${
          if cfg.clientCertFile == null then "clientKeyFile" else "clientCertFile"
        } is set without ${if cfg.clientCertFile == null then "clientCertFile" else "clientKeyFile"}.
        Set both, to the files of the client certificate and of its key, or none.
      '')
      (check (!settings ? client_cert && !settings ? client_key) ''
        ${module}.settings.client_cert and client_key cannot be set: systemd reads the files for the agent,
        whose user cannot read them. Name them in ${module}.clientCertFile and clientKeyFile.
      '')
      (secrets.fileIsOutside {
        option = "clientKeyFile";
        file = cfg.clientKeyFile;
        secret = "key";
        hint = '', such as "/run/secrets/nixfleet-client.key"'';
      })
      (secrets.fileIsOutside {
        option = if cfg.repo.sshKeyFile != null then "repo.sshKeyFile" else "settings.repo.ssh_key";
        file = key;
        secret = "key";
        hint = '', such as "/run/secrets/fleet-key"'';
      })
      (secrets.fileIsOutside {
        option =
          if cfg.rebuild.netrcFile != null then "rebuild.netrcFile" else "settings.rebuild.netrc_file";
        file = written "netrcFile" "netrc_file";
        secret = "logins";
        hint = '', such as "/run/secrets/netrc"'';
      })
      (secrets.fileIsOutside {
        option =
          if cfg.rebuild.accessTokensFile != null then
            "rebuild.accessTokensFile"
          else
            "settings.rebuild.access_tokens_file";
        file = written "accessTokensFile" "access_tokens_file";
        secret = "tokens";
        hint = '', such as "/run/secrets/access-tokens"'';
      })
    ]
    ++ lib.concatLists (lib.mapAttrsToList commandChecks (settings.commands or { }));

  # The agent's name and what it uses of it, up to the first dot.
  hostname = cfg.settings.hostname or "nixos";
  shortName = lib.head (lib.splitString "." hostname);
  isName = text: builtins.match "[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?" text != null;

  # By default the name is also that of the configuration in the flake.
  attributeIsSet = (cfg.settings.rebuild or { }) ? flake_attr;

  # NixOS allows underscores in networking.hostName. Dashboards refuse a registration with one.
  hostnameCheck =
    let
      # Without hyphens at either end, which would look odd.
      near = lib.head (builtins.match "-*(.*[^-]|)-*" (lib.replaceStrings [ "_" ] [ "-" ] shortName));
      isUnderscored = lib.hasInfix "_" shortName && isName near;
      attribute = lib.optionalString (
        !attributeIsSet
      ) '', and ${module}.rebuild.flakeAttr = "${shortName}", its name in the flake'';
    in
    check (isName shortName) (
      if isUnderscored then
        ''
          ${module}.hostname is "${hostname}", and dashboards refuse a host with an underscore in its name.
          Set ${module}.hostname = "${near}"${attribute}.
          By default hostname is networking.hostName, which need not change.
        ''
      else
        ''
          ${module}.hostname is "${hostname}", which is not 1 to 63 letters, digits and hyphens.
          Set it to a short name such as "web-1"; by default it is networking.hostName.
        ''
    );

  hostnameWarning =
    let
      uses = if attributeIsSet then "for the dashboard" else "for the dashboard and in the flake";
      attribute =
        lib.optionalString (!attributeIsSet)
          " If the configuration in the flake has the long name, also set ${module}.rebuild.flakeAttr = \"${hostname}\".";
    in
    lib.optional (hostname != shortName && isName shortName)
      ''${module}.hostname is "${hostname}", which is shortened to "${shortName}" ${uses}. If that is right, set ${module}.hostname = "${shortName}".${attribute}'';

  commandChecks = command: given: [
    (check (builtins.match "[a-z0-9][a-z0-9-]{0,31}" command != null) ''
      ${module}.commands."${command}" is not a name for a command.
      Choose up to 32 lower-case letters, digits and hyphens, the first one no hyphen, such as "backup".
    '')
    (check (!lib.elem command builtIn) ''
      ${module}.commands.${command} is a command that the agent has itself.
      Choose another name.
    '')
    (check (given ? run != given ? steps) ''
      ${module}.commands."${command}" has ${
        if given ? run then "both run and steps" else "neither run nor steps"
      }.
      Set run to one program with its arguments, or steps to a list of several, and not both.
    '')
  ];

  tokenChecks = [
    (check (cfg.tokenFile != null) ''
      ${module}.tokenFile is not set.
      Set it to a file on the host that holds the token and nothing else, such as
      "/run/secrets/nixfleet-token".
    '')
    (secrets.fileIsOutside {
      option = "tokenFile";
      file = cfg.tokenFile;
      secret = "token";
      hint = '', such as "/run/secrets/nixfleet-token"; sops-nix and agenix make such files'';
    })
  ];
in
{
  config = lib.mkIf cfg.enable {
    assertions = tokenChecks ++ settingsChecks;
    warnings = hostnameWarning;
  };
}
