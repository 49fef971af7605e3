# Two gateways, one NATS with a dashboard and the command line, and one host: the host is commanded through NATS, and moves
# when its gateway ends.
{ self, pkgs }:

let
  # Not a secret: it is in the store of this test only.
  token = "a-token-of-the-test";
  digest = builtins.hashString "sha256" token;
  natsPort = 4222;
  agentPort = 8080;

  gateway = {
    imports = [ self.nixosModules.nixfleet-gateway ];
    services.nixfleet-gateway = {
      enable = true;
      openFirewall = true;
      settings = {
        listen = [ "0.0.0.0:${toString agentPort}" ];
        tokens_file = "${pkgs.writeText "tokens" "host ${digest}\n"}";
        nats.servers = [ "nats://nats:${toString natsPort}" ];
        reconnect_window_s = 1;
      };
    };
  };
in
{
  name = "nixfleet-gateway";
  globalTimeout = 1800;

  defaults = {
    documentation.enable = false;
    virtualisation.memorySize = 512;
  };

  nodes = {
    nats = {
      imports = [ self.nixosModules.nixfleet-dashboard ];
      services.nats = {
        enable = true;
        jetstream = true;
        settings.listen = "0.0.0.0:${toString natsPort}";
      };
      networking.firewall.allowedTCPPorts = [ natsPort ];
      services.nixfleet-dashboard = {
        enable = true;
        settings.no_login = true;
      };
      environment.systemPackages = [
        pkgs.curl
        pkgs.natscli
        self.packages.${pkgs.stdenv.hostPlatform.system}.nixfleet-cli
      ];
    };

    one = gateway;
    two = gateway;

    host = {
      imports = [ self.nixosModules.default ];
      # What a balancer does: the first gateway that takes the connection.
      services.haproxy = {
        enable = true;
        config = ''
          defaults
            mode tcp
            timeout connect 2s
            timeout client 1h
            timeout server 1h
          listen gateways
            bind 127.0.0.1:${toString agentPort}
            option redispatch
            server one one:${toString agentPort} check inter 500ms
            server two two:${toString agentPort} check inter 500ms backup
        '';
      };
      services.nixfleet-agent = {
        enable = true;
        url = "ws://127.0.0.1:${toString agentPort}/ws";
        interval = 1;
        tokenFile = "/etc/nixfleet/token";
        commands.hello.run = [
          "${pkgs.coreutils}/bin/echo"
          "hello"
        ];
      };
      environment.etc."nixfleet/token".text = token;
    };
  };

  testScript = ''
    import json
    from typing import Any

    PATIENCE = 300


    def nats_run(command: str) -> str:
        # The terminal of the machine would be standard input.
        return nats.succeed(f"nats --server nats://127.0.0.1:${toString natsPort} {command} < /dev/null", timeout=60)


    def owner() -> Any:
        shown = nats.execute("nats kv get fleet_owners host --raw < /dev/null", timeout=60)
        return json.loads(shown[1]) if shown[0] == 0 else None


    def wait_for_owner(gateway: str) -> int:
        found: list[int] = []

        def look(_: bool) -> bool:
            now = owner()
            print(f"owner: {now}")
            if now and now["gateway"].startswith(gateway + "-") and not now.get("left"):
                found.append(now["connection"])
            return bool(found)

        retry(look, timeout_seconds=PATIENCE)
        return found[0]


    start_all()
    nats.wait_for_unit("nats.service", timeout=PATIENCE)
    for machine in (one, two):
        machine.wait_for_unit("nixfleet-gateway.service", timeout=PATIENCE)
    host.wait_for_unit("nixfleet-agent.service", timeout=PATIENCE)

    with subtest("the host registers at the first gateway"):
        connection = wait_for_owner("one")

    with subtest("a command is answered, and its end is stored"):
        request = json.dumps({"type": "command", "payload": {"command": "hello", "id": "1"}})
        reply = json.loads(nats_run(f"request fleet.cmd.host '{request}' --raw --timeout 10s"))
        print(f"reply: {reply}")
        assert reply["verdict"] == "accepted", reply

        def has_ended(_: bool) -> bool:
            code, shown = nats.execute("nats stream get FLEET_STATUS --last-for fleet.status.host < /dev/null", timeout=60)
            print(shown)
            return code == 0 and '"command":"hello"' in shown

        retry(has_ended, timeout_seconds=PATIENCE)

    with subtest("the dashboard shows the host, and the command line commands it"):
        nats.wait_for_unit("nixfleet-dashboard.service", timeout=PATIENCE)
        nats.wait_until_succeeds("curl -fsS http://127.0.0.1:8080/readyz", timeout=PATIENCE)
        shown = json.loads(nats.succeed("curl -fsS http://127.0.0.1:8080/api/hosts", timeout=60))
        assert [each["hostname"] for each in shown["hosts"]] == ["host"], shown
        said = nats.succeed(
            "nixfleet --server nats://127.0.0.1:${toString natsPort} run hello host --follow < /dev/null", timeout=60
        )
        assert "host | hello" in said, said

    with subtest("the host moves when its gateway ends"):
        one.succeed("systemctl stop nixfleet-gateway.service", timeout=60)
        assert wait_for_owner("two") > connection

    with subtest("a host that is gone is offline"):
        host.succeed("systemctl stop nixfleet-agent.service", timeout=60)

        def is_offline(_: bool) -> bool:
            code, shown = nats.execute("nats kv get fleet_beats host --raw < /dev/null", timeout=60)
            print(f"beat: {code} {shown[:80]}")
            return code != 0

        retry(is_offline, timeout_seconds=PATIENCE)
  '';
}
