set -e
hostname server 2>/dev/null || echo server > /proc/sys/kernel/hostname
for card in /sys/class/net/*; do
  if [ "$(cat "$card/address")" = "52:54:00:00:01:02" ]; then
    name="${card##*/}"
    ip address replace 192.168.1.2/24 dev "$name"
    ip link set "$name" up
    found_lan=yes
  fi
done
[ -n "$found_lan" ] || { echo "no network card with the address 52:54:00:00:01:02" >&2; exit 71; }
cat > /etc/hosts.new <<'HOSTS'
127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
192.168.1.2 server
192.168.1.1 client
HOSTS
chmod 0644 /etc/hosts.new && mv -f /etc/hosts.new /etc/hosts

mkdir -p -m 0700 /root/.ssh
printf '%s\n' 'ssh-ed25519 AAAA it'"'"'s $mine' > /root/.ssh/authorized_keys
chmod 0600 /root/.ssh/authorized_keys
systemctl --quiet is-active orchestrator-journal.service || systemd-run --quiet --no-block --unit=orchestrator-journal.service --collect --property=DefaultDependencies=no --property=Restart=on-failure --property=RestartSec=1 --property=Nice=5 /bin/sh -c 'PATH=$PATH:/run/current-system/sw/bin; exec journalctl --boot --follow --lines=all --output=json --output-fields=MESSAGE,PRIORITY,SYSLOG_IDENTIFIER,_SYSTEMD_UNIT,UNIT,MESSAGE_ID,JOB_RESULT,JOB_TYPE,_PID,EXIT_CODE,EXIT_STATUS > /dev/virtio-ports/org.orchestrator.journal'
cat /etc/ssh/ssh_host_ed25519_key.pub 2>/dev/null || true
