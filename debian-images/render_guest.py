"""What every Debian guest has: network, console, sshd, journal, and what is switched off. Pure."""

from __future__ import annotations

from render_text import Item, link, text_file

USER_NETWORK_MAC = "52:54:00:12:34:56"  # QEMU's default for the first NIC: the user network

# Nothing of these tells anything about the stack, and each costs boot time on an emulated CPU.
MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "logrotate.timer",
    "man-db.timer",
    "systemd-tmpfiles-clean.timer",
    "systemd-timesyncd.service",
    "systemd-networkd-wait-online.service",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-update-done.service",
    "ldconfig.service",
    "systemd-pcrmachine.service",
    "systemd-pcrphase.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-tpm2-setup.service",
    "systemd-tpm2-setup-early.service",
    "systemd-pstore.service",
    "systemd-hibernate-clear.service",
    "systemd-binfmt.service",
    "proc-sys-fs-binfmt_misc.automount",
    "systemd-networkd-persistent-storage.service",
    "dev-hugepages.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "sys-kernel-config.mount",
    "sys-fs-fuse-connections.mount",
    "getty-static.service",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "systemd-journal-flush.service",
    "kmod-static-nodes.service",
    "systemd-pcrlock.socket",
    "systemd-pcrextend.socket",
    "systemd-creds.socket",
    "systemd-sysext.socket",
    "systemd-machine-id-commit.service",
    "systemd-sysusers.service",
    "systemd-udev-load-credentials.service",
    "systemd-tmpfiles-setup-dev-early.service",
    "modprobe@drm.service",
)

# What is left: fstab, and debug for systemd.wants= on the kernel command line.
MASKED_GENERATORS = (
    "systemd-getty-generator",
    "systemd-gpt-auto-generator",
    "systemd-hibernate-resume-generator",
    "systemd-rc-local-generator",
    "systemd-run-generator",
    "systemd-ssh-generator",
    "systemd-system-update-generator",
    "systemd-sysv-generator",
    "systemd-tpm2-generator",
)

# Modules that udev or systemd would load because the hardware could use them: nothing here does.
UNLOADED_MODULES = (
    "kvm_amd",
    "kvm_intel",
    "ata_piix",
    "ata_generic",
    "sr_mod",
    "sg",
    "serio_raw",
    "psmouse",
    "aesni_intel",
    "ghash_clmulni_intel",
    "crct10dif_pclmul",
    "crc32_pclmul",
    "sha512_ssse3",
    "sha256_ssse3",
    "sha1_ssse3",
    "vsock_loopback",
    "vmw_vsock_vmci_transport",
    "vmw_vsock_virtio_transport",
    "qemu_fw_cfg",
    "ip_tables",
    "virtio_input",
)


def guest_items() -> list[Item]:
    """The files both machines share. Host name, /etc/hosts and the shared network come from the orchestrator."""
    return [
        text_file("/etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost\n"),
        text_file("/etc/fstab", "/dev/vda / ext4 rw,noatime 0 0\n"),
        text_file("/etc/nsswitch.conf", NSSWITCH),
        text_file("/etc/resolv.conf", "nameserver 10.0.2.3\noptions timeout:2 attempts:2\n"),
        text_file("/etc/locale.conf", "LANG=C.UTF-8\n"),
        text_file("/etc/default/locale", "LANG=C.UTF-8\n"),
        text_file("/etc/systemd/network/10-user.network", USER_NETWORK),
        text_file("/etc/systemd/journald.conf.d/10-guest.conf", JOURNALD),
        text_file("/etc/systemd/system.conf.d/10-guest.conf", SYSTEM),
        text_file("/etc/systemd/system/serial-getty@ttyS0.service.d/10-autologin.conf", AUTOLOGIN),
        text_file("/etc/systemd/system/qemu-guest-agent.service", AGENT),
        text_file("/usr/local/lib/guest/agent", AGENT_SCRIPT, "0755"),
        link(
            "/etc/systemd/system/sysinit.target.wants/qemu-guest-agent.service",
            "/etc/systemd/system/qemu-guest-agent.service",
        ),
        text_file("/etc/ssh/sshd_config", SSHD),
        text_file("/etc/systemd/system/sshd-keygen.service", HOST_KEY),
        text_file("/etc/systemd/system/ssh.service.d/10-guest.conf", SSH_DROP_IN),
        link(
            "/etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
            f"{UNITS}/systemd-networkd.service",
        ),
        link("/etc/systemd/system/dbus-org.freedesktop.network1.service", f"{UNITS}/systemd-networkd.service"),
        link(
            "/etc/systemd/system/getty.target.wants/serial-getty@ttyS0.service",
            f"{UNITS}/serial-getty@.service",
        ),
        link("/etc/systemd/system/default.target", f"{UNITS}/multi-user.target"),
        text_file("/etc/modprobe.d/guest.conf", "".join(f"blacklist {module}\n" for module in UNLOADED_MODULES)),
        text_file("/etc/systemd/system/systemd-udev-trigger.service.d/10-guest.conf", COLDPLUG),
        *[link(f"/etc/systemd/system/{unit}", "/dev/null") for unit in MASKED],
        *[link(f"/etc/systemd/system-generators/{name}", "/dev/null") for name in MASKED_GENERATORS],
    ]


UNITS = "/usr/lib/systemd/system"

NSSWITCH = """
passwd: files
group: files
shadow: files
hosts: files dns
networks: files
protocols: files
services: files
ethers: files
rpc: files
"""

# Static, because the user network always has these addresses: no DHCP client, nothing to wait for.
# Every other interface is left alone.
USER_NETWORK = f"""
[Match]
MACAddress={USER_NETWORK_MAC}

[Link]
RequiredForOnline=no

[Network]
Address=10.0.2.15/24
Gateway=10.0.2.2
LinkLocalAddressing=no
IPv6AcceptRA=no
ConfigureWithoutCarrier=yes
"""

# Of 500 devices these are the ones somebody waits for or has a driver for. What is plugged in later is not affected.
COLDPLUG = """
[Service]
ExecStart=
ExecStart=-udevadm trigger --action=add --subsystem-match=virtio --subsystem-match=virtio-ports
ExecStart=-udevadm trigger --action=add --subsystem-match=net --subsystem-match=block
ExecStart=-udevadm trigger --action=add --sysname-match=ttyS0 --sysname-match=hvc* --sysname-match=event* \\
    --sysname-match=LNXPWRBN* --sysname-match=PNP0C0C*
"""

# Volatile: the orchestrator reads the journal as it is written, and the disk has better things to do.
JOURNALD = """
[Journal]
Storage=volatile
RuntimeMaxUse=128M
ForwardToSyslog=no
ForwardToConsole=no
RateLimitIntervalSec=0
RateLimitBurst=0
Audit=no
"""

SYSTEM = """
[Manager]
DefaultTimeoutStartSec=300s
DefaultTimeoutStopSec=60s
DefaultDeviceTimeoutSec=300s
ShowStatus=yes
"""

# The console is a socket of mode 0600 on the host: who can open it could read the disk as well.
AUTOLOGIN = """
[Service]
ExecStart=
ExecStart=-/sbin/agetty --autologin root --noclear --keep-baud 115200,57600,38400,9600 - $TERM
"""

# The agent is the orchestrator's way in, so it comes before nearly everything else: it finds its port itself and does
# not wait for udev. What it is asked to start waits for what it is ordered after, as in any boot.
AGENT = """
[Unit]
Description=QEMU Guest Agent
DefaultDependencies=no
After=systemd-remount-fs.service
Conflicts=shutdown.target
Before=shutdown.target

[Service]
ExecStart=/usr/local/lib/guest/agent
Restart=on-failure
RestartSec=1
# It writes a line for each of its calls, many a second; its troubles are warnings.
LogLevelMax=notice
"""

AGENT_SCRIPT = """
#!/bin/sh
# The guest agent on the port of its name.
for port in /sys/class/virtio-ports/*; do
    if read -r name < "$port/name" && [ "$name" = org.qemu.guest_agent.0 ]; then
        exec /usr/sbin/qemu-ga --path="/dev/${port##*/}"
    fi
done
echo "this machine has no port for the guest agent yet"
exit 1
"""

SSHD = """
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
GSSAPIAuthentication no
X11Forwarding no
PrintMotd no
PrintLastLog no
MaxSessions 100
MaxStartups 100
LoginGraceTime 300
AcceptEnv LANG LC_*
SetEnv LANG=C.UTF-8
Subsystem sftp internal-sftp
"""

# One key, made by the first boot: an image never holds one.
HOST_KEY = """
[Unit]
Description=SSH host key
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N "" -C "" -f /etc/ssh/ssh_host_ed25519_key
"""

# Debian checks the configuration before each start; ours is part of the image.
SSH_DROP_IN = """
[Unit]
After=sshd-keygen.service
Wants=sshd-keygen.service

[Service]
ExecStartPre=
"""
