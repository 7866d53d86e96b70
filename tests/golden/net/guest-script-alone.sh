umask 022
echo alone > /proc/sys/kernel/hostname
[ ! -L /etc/hosts ] || rm -f /etc/hosts
printf '%s\n' '127.0.0.1 localhost' '::1 localhost ip6-localhost ip6-loopback' '127.0.1.1 alone' '192.168.1.2 server' '192.168.1.1 client' '192.168.1.3 second' > /etc/hosts
[ ! -L /etc/resolv.conf ] || rm -f /etc/resolv.conf
echo '# no egress: names outside have no address here' > /etc/resolv.conf
