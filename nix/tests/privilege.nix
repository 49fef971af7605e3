# What an attacker who controls the agent could do: start the configured commands, and nothing else.
{
  self,
  pkgs,
  lib,
}:
{
  host =
    { pkgs, lib, ... }:
    {
      services.nixfleet-agent = {
        repo = {
          url = "file:///srv/fleet.git";
          sshKeyFile = "/var/keys/deploy";
        };
        commands = {
          long.run = import ./lib/numbered.nix { inherit pkgs lib; };
          # Writes the name of the user that it runs as.
          mark.run = [
            "${pkgs.writeShellScript "mark" "${pkgs.coreutils}/bin/id --user --name >> /run/marks"}"
          ];
        };
      };

      systemd.services = {
        bystander = {
          description = "Wants to be left alone";
          wantedBy = [ "multi-user.target" ];
          serviceConfig.ExecStart = "${pkgs.coreutils}/bin/sleep infinity";
        };
        # This must run before the agent starts, because the agent clones the repository without a
        # request.
        fleet-repository = {
          description = "The fleet's repository";
          wantedBy = [ "nixfleet-agent.service" ];
          before = [ "nixfleet-agent.service" ];
          path = [ pkgs.git ];
          serviceConfig = {
            Type = "oneshot";
            RemainAfterExit = true;
          };
          script = ''
            git init --quiet --initial-branch=main /srv/work
            cd /srv/work
            echo '{ }' > flake.nix
            git add flake.nix
            git -c user.name=test -c user.email=test@example.org commit --quiet --message=one
            git clone --quiet --bare /srv/work /srv/fleet.git
          '';
        };
        victim = {
          description = "Must not start";
          serviceConfig.Type = "oneshot";
          script = "echo victim >> /run/marks";
        };
      };
    };

  script = ''
    STATE = "/var/lib/nixfleet-agent"

    # Exit codes of a command that ran too long, and of one that could not be run.
    MEANS_NOTHING = [124, 126, 127]


    def as_agent(command: str) -> tuple[int, str]:
        code, said = host_try(f"runuser -u nixfleet-agent -- {command} 2>&1")
        print(f"{command[:200]}: exit code {code}: {said.strip()[:400]}")
        return code, said


    def refused(command: str) -> None:
        """Refused by the kernel or by the service manager, and not for another reason."""
        code, said = as_agent(command)
        assert code != 0, f"the agent's user may: {command}: {said}"
        assert code not in MEANS_NOTHING, f"{command} was not tried: exit code {code}: {said}"


    def forbidden(verb: str) -> None:
        """Refused by polkit, and not because of some mistake in the command."""
        code, said = as_agent(f"systemctl --no-ask-password {verb}")
        reasons = ["denied", "authentication required", "authentication is required", "not permitted"]
        assert code != 0 and any(reason in said.lower() for reason in reasons), f"{verb}: {code}: {said}"


    def job(name: str, number: int) -> str:
        return f"nixfleet-job@{name}-{number:032x}.service"


    def folder(number: int) -> str:
        return f"{STATE}/jobs/{number:032x}"


    def marks() -> list[str]:
        return host_run("cat /run/marks 2> /dev/null || true").split()


    def job_folders() -> list[str]:
        return sorted(host_run(f"ls {STATE}/jobs").split())


    def result(number: int) -> Message:
        host.wait_until_succeeds(f"test -e {folder(number)}/result.json", timeout=PATIENCE)
        return json.loads(host_run(f"cat {folder(number)}/result.json"))


    def bystander() -> str:
        # The invocation id changes with every start.
        return host_run("systemctl show -P ActiveState -P InvocationID bystander.service")


    def carriers() -> list[str]:
        """Processes with the token in their environment or command line. grep has it from the file, and
        complains about processes that have ended meanwhile."""
        found = host_run(
            "grep -slF -f /run/nixfleet-token /proc/[0-9]*/environ /proc/[0-9]*/cmdline || true"
        )
        return found.split()


    start_fleet()

    with step("the repository is cloned unasked, by root"):
        status = ended("clone", 0)
        assert status["status"] == "ok", status

    with step("the agent's user starts a configured command, which runs as root"):
        code, said = as_agent(f"systemctl --no-ask-password start '{job('mark', 1)}'")
        assert code == 0, said
        ended_as = result(1)
        assert (ended_as["outcome"], ended_as["exit_code"]) == ("ok", 0), ended_as
        assert marks() == ["root"], marks()

    with step("it starts, stops and changes no other unit"):
        before = bystander()
        for verb in [
            "start victim.service",
            "restart victim.service",
            "stop bystander.service",
            "restart bystander.service",
            "kill --signal=KILL bystander.service",
            "set-property bystander.service CPUWeight=1",
            "stop nixfleet-agent.service",
            "isolate rescue.target",
            "enable --runtime victim.service",
            "mask --runtime bystander.service",
            "set-environment LD_PRELOAD=/tmp/evil.so",
            "daemon-reload",
            "reboot",
            "poweroff",
            # What decides which system runs. Root alone starts it.
            f"start nixfleet-rollback@{1:032x}.service",
            f"kill --signal=KILL nixfleet-rollback@{1:032x}.service",
            "start nixfleet-agent-registered.service",
        ]:
            forbidden(verb)
        # A unit that the caller makes up, under any name and under the name of a job.
        for name in ["made-up.service", job("mark", 2)]:
            refused(f"systemd-run --no-ask-password --unit={name} sh -c 'echo made-up >> /run/marks'")
        assert bystander() == before, f"{bystander()}, not {before}"
        assert marks() == ["root"], marks()

    with step("of a running command it can do nothing but send a signal"):
        since = mark()
        send("long")
        running("long", since)
        of_job = host_run("systemctl list-units --plain --no-legend 'nixfleet-job@long-*'").split()[0]
        forbidden(f"stop {of_job}")
        forbidden(f"restart {of_job}")
        forbidden(f"set-property {of_job} CPUWeight=1")
        refused(f"systemctl --no-ask-password --job-mode=isolate start {job('mark', 3)}")
        # The agent itself may stop the job, also from its sandbox.
        code, answer = post(f"/hosts/{HOST}/command", {"command": "stop"})
        assert code == 202, answer
        status = ended("long", since)
        assert status["status"] == "stopped" and status["exit_code"] in [137, 143], status
        idle(since)
        assert marks() == ["root"], marks()

    with step("a hostile name runs nothing"):
        before_folders = job_folders()
        digits = f"{10:032x}"
        for name in [
            f"../x-{digits}",
            f"../../../tmp/x-{digits}",
            f"mark x-{digits}",
            f"%i-{digits}",
            f"--config=/tmp/evil.toml-{digits}",
            f"-mark-{digits}",
            f"mark-{digits.upper()}",
            f"mark-{digits}0",
            f"mark.-{digits}",
            "mark",
            "",
            "a" * 4096 + f"-{digits}",
        ]:
            hostile = shlex.quote(f"nixfleet-job@{name}.service")
            # systemctl turns the text into a valid unit name first; the bus gets it unchanged.
            refused(f"systemctl --no-ask-password start -- {hostile}")
            refused(
                "busctl --allow-interactive-authorization=no call org.freedesktop.systemd1 "
                "/org/freedesktop/systemd1 org.freedesktop.systemd1.Manager "
                f"StartUnit ss {hostile} replace"
            )
        assert job_folders() == before_folders, job_folders()
        # A valid name with an unknown command starts a job, which reports the error.
        as_agent(f"systemctl --no-ask-password start '{job('no-such', 11)}'")
        unknown = result(11)
        assert unknown["outcome"] == "not_started" and "unknown command" in unknown["message"], unknown
        assert marks() == ["root"], marks()

    with step("it reads no key and writes neither jobs nor checkout"):
        host_run("mkdir -p /var/keys && echo key > /var/keys/deploy && chmod 0400 /var/keys/deploy")
        refused("cat /var/keys/deploy")
        refused("cat /run/nixfleet-token")

        code, said = as_agent(f"cat {folder(1)}/spec.json")
        assert code == 0 and '"mark"' in said, said
        refused(f"touch {STATE}/jobs/new")
        refused(f"touch {folder(1)}/new")
        refused(f"sh -c 'echo >> {folder(1)}/log.jsonl'")
        refused(f"rm -rf -- {folder(1)}")
        refused(f"mv -f -- {STATE}/jobs {STATE}/agent/")
        refused(f"touch {STATE}/new")

        checkout = host_run(f"stat -c '%U %a' {STATE}/repo").strip()
        assert checkout == "root 700", f"the checkout is {checkout}"
        host_run(f"test -e {STATE}/repo/flake.nix")
        refused(f"ls {STATE}/repo")
        refused(f"cat {STATE}/repo/flake.nix")
        refused(f"touch {STATE}/repo/new")
        refused(f"mv -f -- {STATE}/repo {STATE}/agent/")
        refused("sh -c 'echo >> /etc/nixfleet/agent.toml'")

    with step("the token is where it belongs and nowhere else"):
        # It is the real token: the agent registered with it.
        assert is_online(view()), view()
        token = host_run("cat /run/nixfleet-token").strip()
        assert len(token) == 64, "not what token.nix makes"

        # Everything that was generated from the configuration, and a check that grep searches there.
        known = host_run("grep -RslF /run/nixfleet-token /run/current-system/etc || true")
        print(known)
        assert "nixfleet-agent.service" in known, known
        found = host_run("grep -RslF -f /run/nixfleet-token /run/current-system/etc || true")
        assert not found, f"the token is in {found}"

        host_run("rm -f /run/gate")
        since = mark()
        send("long")
        running("long", since)
        shown = host_run("systemctl show --all nixfleet-agent.service 'nixfleet-job@*'")
        assert "nixfleet-job@long-" in shown and token not in shown, "the token is among the units' properties"
        found = host_run("journalctl --no-pager | grep -F -f /run/nixfleet-token || true")
        assert not found, f"the token is in the journal: {found}"
        assert carriers() == [], carriers()

        # The same search finds a process that does have the token.
        host_run(
            'systemd-run --unit=carrier --setenv=TOKEN="$(cat /run/nixfleet-token)" sleep infinity'
        )
        pid = unit("carrier.service", "MainPID")
        wait_for("a carrier", carriers, lambda found: f"/proc/{pid}/environ" in found)
        host_run("systemctl stop carrier.service")
        host_run("touch /run/gate")
        assert ended("long", since)["exit_code"] == 0

    with step("a reload reaches the agent, and passes a new token if systemd knows how"):
        version = int(host_run("systemctl --version").split()[1])
        answer = "new token; connecting anew" if version >= 260 else "nothing has changed, and the connection stays"
        print(f"systemd {version}: {answer}")
        pid = unit("nixfleet-agent.service", "MainPID")
        host_run("cp -p /run/nixfleet-token /run/right-token && echo wrong > /run/nixfleet-token")
        host_run("systemctl reload nixfleet-agent.service")
        wait_for(
            "the agent's answer",
            lambda: host_run(
                "journalctl --boot --quiet --no-pager --output=cat --lines=20 --unit=nixfleet-agent.service"
            ),
            lambda seen: answer in seen,
        )
        host_run("cp -p /run/right-token /run/nixfleet-token")
        host_run("systemctl reload nixfleet-agent.service")
        wait_for("the host to be online", view, is_online)
        assert unit("nixfleet-agent.service", "MainPID") == pid, "the agent is another process"

    with step("the agent's sandbox is tight"):
        exposure("nixfleet-agent.service", 1.5)
  '';
}
