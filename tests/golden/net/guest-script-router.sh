umask 022
echo gw > /proc/sys/kernel/hostname
changes=
found_n1=
for card in /sys/class/net/*; do
  if { read -r mac < "$card/address"; } 2>/dev/null && [ "$mac" = "52:54:00:00:01:01" ]; then
    found_n1=${card##*/}
  fi
done
[ -n "$found_n1" ] || { echo "no network card with the address 52:54:00:00:01:01" >&2; exit 71; }
changes="${changes}address replace 10.1.0.1/24 dev $found_n1
address replace fd00:1::1/64 dev $found_n1 nodad
link set $found_n1 up
"
found_n2=
for card in /sys/class/net/*; do
  if { read -r mac < "$card/address"; } 2>/dev/null && [ "$mac" = "52:54:00:00:02:01" ]; then
    found_n2=${card##*/}
  fi
done
[ -n "$found_n2" ] || { echo "no network card with the address 52:54:00:00:02:01" >&2; exit 71; }
changes="${changes}address replace 10.2.0.1/24 dev $found_n2
address replace fd00:2::1/64 dev $found_n2 nodad
link set $found_n2 up
"
[ -e /proc/net/if_inet6 ] || { echo "network n1 has subnet6, and the kernel of the image has no IPv6" >&2; exit 71; }
ip -batch - <<CHANGES
$changes
CHANGES
command -v nft >/dev/null || { echo "the image has no program nft" >&2; exit 72; }
mkdir -p -m 0755 /run/orchestrator
cat > /run/orchestrator/router.nft <<RULES
table inet orchestrator_router
delete table inet orchestrator_router
table inet orchestrator_router {
  chain forward {
    type filter hook forward priority filter; policy drop;
    iifname { "$found_n1", "$found_n2" } oifname { "$found_n1", "$found_n2" } ct state established,related accept
    iifname { "$found_n1", "$found_n2" } oifname { "$found_n2" } accept
  }
  chain postrouting {
    type nat hook postrouting priority srcnat;
    iifname "$found_n1" oifname { "$found_n2" } masquerade
  }
}
RULES
nft -c -f /run/orchestrator/router.nft || exit 73
if [ -e /run/systemd/transient/orchestrator-router.service ]; then systemctl restart orchestrator-router.service
else systemd-run --quiet --expand-environment=no --unit=orchestrator-router --property=Type=oneshot --property=RemainAfterExit=yes --property=DefaultDependencies=no --property=After=nftables.service --property=After=systemd-sysctl.service --property=PartOf=nftables.service /bin/sh -ec 'PATH=$PATH:/run/current-system/sw/bin; nft -f /run/orchestrator/router.nft; echo 1 > /proc/sys/net/ipv4/ip_forward; if [ -e /proc/sys/net/ipv6 ]; then echo 1 > /proc/sys/net/ipv6/conf/all/forwarding; fi'; fi || exit 73
[ ! -L /etc/hosts ] || rm -f /etc/hosts
printf '%s\n' '127.0.0.1 localhost' '::1 localhost ip6-localhost ip6-loopback' '10.1.0.1 gw' 'fd00:1::1 gw' '10.2.0.2 shop.example.test shop www' 'fd00:2::2 shop.example.test shop www' > /etc/hosts
[ ! -L /etc/resolv.conf ] || rm -f /etc/resolv.conf
echo '# no egress: names outside have no address here' > /etc/resolv.conf
