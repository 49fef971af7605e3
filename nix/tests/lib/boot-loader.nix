# A machine that boots by systemd-boot from its own disk, so that what it boots can change. Machines of the
# test driver otherwise get kernel and system from QEMU, and boot the same system for ever.
{ pkgs, ... }:
{
  virtualisation = {
    useBootLoader = true;
    useEFIBoot = true;
    # MiB. The image of the system has hardly any room left, and the agent asks for some before a rebuild.
    diskSize = 4096;
  };

  boot.loader = {
    systemd-boot.enable = true;
    efi.canTouchEfiVariables = true;
    # Nobody is there to choose.
    timeout = 0;
  };

  # The file system gets the rest of the disk.
  boot.growPartition = true;
  systemd.services.grow-root = {
    description = "Grow the root file system";
    wantedBy = [ "multi-user.target" ];
    requires = [ "growpart.service" ];
    after = [ "growpart.service" ];
    before = [ "nixfleet-agent.service" ];
    restartIfChanged = false;
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
      ExecStart = "${pkgs.e2fsprogs}/bin/resize2fs /dev/disk/by-label/nixos";
    };
  };

  # The boot loader's entries belong to a machine, which must be the same after a reboot.
  environment.etc."machine-id".text = "6d1f0c2a9b7e4c5d8a3f1e2b4c6d8e0f\n";
}
