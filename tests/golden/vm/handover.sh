set -e
[ -d /run/systemd/system ] || { read -r init < /proc/1/comm; echo "$init" >&2; exit 81; }
[ -w /etc ] || exit 82
umask 022
echo server > /proc/sys/kernel/hostname
changes=
found_lan=
for card in /sys/class/net/*; do
  if { read -r mac < "$card/address"; } 2>/dev/null && [ "$mac" = "52:54:00:00:01:02" ]; then
    found_lan=${card##*/}
  fi
done
[ -n "$found_lan" ] || { echo "no network card with the address 52:54:00:00:01:02" >&2; exit 71; }
changes="${changes}address replace 192.168.1.2/24 dev $found_lan
link set $found_lan up
"
ip -batch - <<CHANGES
$changes
CHANGES
[ ! -L /etc/hosts ] || rm -f /etc/hosts
printf '%s\n' '127.0.0.1 localhost' '::1 localhost ip6-localhost ip6-loopback' '192.168.1.2 server' '192.168.1.1 client' > /etc/hosts
[ ! -L /etc/resolv.conf ] || rm -f /etc/resolv.conf
echo '# no egress: names outside have no address here' > /etc/resolv.conf

umask 077
[ -d /root/.ssh ] || mkdir -p /root/.ssh
printf '%s\n' 'ssh-ed25519 AAAA it'"'"'s $mine' > /root/.ssh/authorized_keys
: > /run/orchestrator-handed-over
[ -d /sys/fs/cgroup/system.slice/orchestrator-journal.service ] || systemd-run --quiet --no-block --expand-environment=no --unit=orchestrator-journal.service --collect --property=DefaultDependencies=no --property=Restart=on-failure --property=RestartSec=1 --property=Nice=5 /bin/sh -c 'PATH=$PATH:/run/current-system/sw/bin; for port in /sys/class/virtio-ports/*; do read -r name < "$port/name" || continue; [ "$name" = org.orchestrator.journal ] || continue; exec journalctl --boot --follow --lines=all --output=json --output-fields=MESSAGE,PRIORITY,SYSLOG_IDENTIFIER,_SYSTEMD_UNIT,UNIT,INVOCATION_ID,MESSAGE_ID,JOB_RESULT,JOB_TYPE,_PID,EXIT_CODE,EXIT_STATUS,_SOURCE_MONOTONIC_TIMESTAMP,_SOURCE_REALTIME_TIMESTAMP > "/dev/${port##*/}"; done; exit 71'
