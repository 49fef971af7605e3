# What the module refuses of secrets and of the files that hold them.
{ lib, hosts, ... }:

let
  inherit (hosts)
    agent
    on
    with'
    required
    complaints
    ;
in
{
  testSecretsInTheStore = {
    expr =
      let
        # Files in the store; their hashes do not matter.
        host = with' {
          tokenFile = ./secrets.nix;
          repo.sshKeyFile = "${builtins.storeDir}/some-key";
          settings.token = "secret";
        };
      in
      map (
        text: lib.replaceStrings [ (toString ./secrets.nix) builtins.storeDir ] [ "FILE" "STORE" ] text
      ) (complaints host);
    expected = [
      ''services.nixfleet-agent.tokenFile is FILE, in the Nix store or on its way there, where everyone could read the token. Write the path of a file on the host, in quotes, such as "/run/secrets/nixfleet-token"; sops-nix and agenix make such files.''
      "services.nixfleet-agent.settings.token would be readable by everyone in the Nix store. Write the token into a file on the host and name it in services.nixfleet-agent.tokenFile."
      ''services.nixfleet-agent.repo.sshKeyFile is STORE/some-key, in the Nix store or on its way there, where everyone could read the key. Write the path of a file on the host, in quotes, such as "/run/secrets/fleet-key".''
    ];
  };

  testLoginsOfProxies = {
    expr = map (lib.replaceStrings [ builtins.storeDir ] [ "STORE" ]) (
      lib.concatMap (proxy: complaints (with' proxy)) [
        { proxy = "http://me:secret@proxy.example.org:3128"; }
        { settings.proxy_login_file = "/run/secrets/proxy-login"; }
        { proxyLoginFile = "${builtins.storeDir}/login"; }
        {
          proxy = "http://proxy.example.org:3128";
          proxyLoginFile = "/run/secrets/proxy-login";
        }
      ]
    );
    expected = [
      "services.nixfleet-agent.proxy has a login, which everyone could read in the Nix store. Leave it out, and write it as USER:PASSWORD into a file on the host. Name that in services.nixfleet-agent.proxyLoginFile."
      "services.nixfleet-agent.settings.proxy_login_file cannot be set: systemd reads the login for the agent, whose user cannot read the file. Name it in services.nixfleet-agent.proxyLoginFile."
      ''services.nixfleet-agent.proxyLoginFile is STORE/login, in the Nix store or on its way there, where everyone could read the login. Write the path of a file on the host, in quotes, such as "/run/secrets/proxy-login".''
    ];
  };

  # The message names what was set.
  testLoginsInTheStore = {
    expr = map (lib.replaceStrings [ builtins.storeDir ] [ "STORE" ]) (
      lib.concatMap (rebuild: complaints (with' rebuild)) [
        { rebuild.netrcFile = "${builtins.storeDir}/netrc"; }
        { settings.rebuild.netrc_file = "${builtins.storeDir}/netrc"; }
        { rebuild.accessTokensFile = "${builtins.storeDir}/tokens"; }
        { settings.rebuild.access_tokens_file = "${builtins.storeDir}/tokens"; }
        {
          rebuild.netrcFile = "/run/secrets/netrc";
          rebuild.accessTokensFile = "/run/secrets/access-tokens";
        }
      ]
    );
    expected =
      let
        netrc =
          option:
          ''services.nixfleet-agent.${option} is STORE/netrc, in the Nix store or on its way there, where everyone could read the logins. Write the path of a file on the host, in quotes, such as "/run/secrets/netrc".'';
        tokens =
          option:
          ''services.nixfleet-agent.${option} is STORE/tokens, in the Nix store or on its way there, where everyone could read the tokens. Write the path of a file on the host, in quotes, such as "/run/secrets/access-tokens".'';
      in
      [
        (netrc "rebuild.netrcFile")
        (netrc "settings.rebuild.netrc_file")
        (tokens "rebuild.accessTokensFile")
        (tokens "settings.rebuild.access_tokens_file")
      ];
  };

  testClientCertificates = {
    expr = lib.mapAttrs (_: settings: complaints (with' settings)) {
      both = {
        clientCertFile = "/run/secrets/client.pem";
        clientKeyFile = "/run/secrets/client.key";
      };
      # A certificate is no secret.
      certInTheStore = {
        clientCertFile = ./secrets.nix;
        clientKeyFile = "/run/secrets/client.key";
      };
      certAlone.clientCertFile = "/run/secrets/client.pem";
      keyAlone.clientKeyFile = "/run/secrets/client.key";
      keyUnquoted = {
        clientCertFile = "/run/secrets/client.pem";
        clientKeyFile = /run/secrets/client.key;
      };
      certAsASetting.settings.client_cert = "/run/secrets/client.pem";
      keyAsASetting.settings.client_key = "/run/secrets/client.key";
    };
    expected =
      let
        alone = one: other: [
          "services.nixfleet-agent.${one} is set without ${other}. Set both, to the files of the client certificate and of its key, or none."
        ];
        asASetting = [
          "services.nixfleet-agent.settings.client_cert and client_key cannot be set: systemd reads the files for the agent, whose user cannot read them. Name them in services.nixfleet-agent.clientCertFile and clientKeyFile."
        ];
      in
      {
        both = [ ];
        certInTheStore = [ ];
        certAlone = alone "clientCertFile" "clientKeyFile";
        keyAlone = alone "clientKeyFile" "clientCertFile";
        keyUnquoted = [
          ''services.nixfleet-agent.clientKeyFile is /run/secrets/client.key, in the Nix store or on its way there, where everyone could read the key. Write the path of a file on the host, in quotes, such as "/run/secrets/nixfleet-client.key".''
        ];
        certAsASetting = asASetting;
        keyAsASetting = asASetting;
      };
  };

  testKeyInTheStoreAsASetting = {
    expr = map (lib.replaceStrings [ builtins.storeDir ] [ "STORE" ]) (
      complaints (with' {
        settings.repo.ssh_key = "${builtins.storeDir}/some-key";
      })
    );
    expected = [
      ''services.nixfleet-agent.settings.repo.ssh_key is STORE/some-key, in the Nix store or on its way there, where everyone could read the key. Write the path of a file on the host, in quotes, such as "/run/secrets/fleet-key".''
    ];
  };

  testSecretsAsUnquotedPaths = {
    expr = map (lib.substring 0 60) (
      complaints (with' {
        tokenFile = /run/secrets/token;
        repo.sshKeyFile = /run/secrets/key;
      })
    );
    expected = [
      "services.nixfleet-agent.tokenFile is /run/secrets/token, in "
      "services.nixfleet-agent.repo.sshKeyFile is /run/secrets/key,"
    ];
  };
}
