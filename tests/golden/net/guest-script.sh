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
found_db_net=
for card in /sys/class/net/*; do
  if { read -r mac < "$card/address"; } 2>/dev/null && [ "$mac" = "52:54:00:00:07:09" ]; then
    found_db_net=${card##*/}
  fi
done
[ -n "$found_db_net" ] || { echo "no network card with the address 52:54:00:00:07:09" >&2; exit 71; }
changes="${changes}address replace 192.168.7.9/24 dev $found_db_net
link set $found_db_net up
"
ip -batch - <<CHANGES
$changes
CHANGES
[ ! -L /etc/hosts ] || rm -f /etc/hosts
printf '%s\n' '127.0.0.1 localhost' '::1 localhost ip6-localhost ip6-loopback' '192.168.1.2 server' '192.168.1.1 client' > /etc/hosts
[ ! -L /etc/resolv.conf ] || rm -f /etc/resolv.conf
echo '# no egress: names outside have no address here' > /etc/resolv.conf
