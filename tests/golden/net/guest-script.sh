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
for card in /sys/class/net/*; do
  if [ "$(cat "$card/address")" = "52:54:00:00:07:09" ]; then
    name="${card##*/}"
    ip address replace 192.168.7.9/24 dev "$name"
    ip link set "$name" up
    found_db_net=yes
  fi
done
[ -n "$found_db_net" ] || { echo "no network card with the address 52:54:00:00:07:09" >&2; exit 71; }
cat > /etc/hosts.new <<'HOSTS'
127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
192.168.1.2 server
192.168.1.1 client
HOSTS
chmod 0644 /etc/hosts.new && mv -f /etc/hosts.new /etc/hosts
