# Run by root on the test VM, with `wg` on standard input: a hub in a network of its
# own, the device in its VPN by the kernel's WireGuard and the real units, SSH over
# it alone, the interface deleted. Undoes what it changed.
set -eu
anchors=/etc/edge-ai/container-config
back() {
	printf '{"provider":"none"}\n' >/etc/edge-ai/vpn.json
	printf '{"sandbox":true,"run":"any","engineer":"debug"}\n' >$anchors/policy.json
	rm -f /run/edge-vpn/sshd.conf
	systemctl reload ssh
	ip netns del hub || :
}
fail() {
	echo "$*" >&2
	journalctl -b -u edge-vpn -u edge-vpn-ssh --no-pager -n 20 >&2
	exit 1
}
banner() {
	ip netns exec hub bash -c "exec 3<>/dev/tcp/$1/22 && read -r line <&3 && echo \$line" | grep -q ^SSH-
}
mount -o remount,rw /
cat >/usr/bin/wg
chmod 755 /usr/bin/wg
trap back EXIT

ip netns add hub
ip link add up0 type veth peer name hub0 netns hub
ip address add 192.0.2.2/24 dev up0
ip link set up0 up
ip -n hub address add 192.0.2.1/24 dev hub0
ip -n hub link set hub0 up
umask 77
wg genkey >/run/hub.key
umask 22
hub=$(wg pubkey </run/hub.key)
range=fd12:3456:789a::/64
cat >/etc/edge-ai/vpn.json <<END
{ "provider": "wireguard", "range": "$range", "domain": "vpn.test", "peers": [
  { "public_key": "$hub", "endpoint": "192.0.2.1:51820", "allowed_ips": ["$range"], "keepalive": 1 }] }
END
printf '{"sandbox":true,"run":"any","engineer":"debug","ssh":"vpn"}\n' >$anchors/policy.json
systemctl restart edge-vpn-ssh
# The hub does not know this device yet.
! systemctl start edge-vpn 2>/dev/null || fail "ready without a hub"
address=$(cat /data/config/wireguard/address)
key=$(cat /data/config/wireguard/public.key)
ip -n hub link add wghub type wireguard
ip netns exec hub wg set wghub listen-port 51820 private-key /run/hub.key peer "$key" allowed-ips "$address/128"
ip -n hub address add fd12:3456:789a::1/64 dev wghub
ip -n hub link set wghub up
systemctl start edge-vpn || fail "not ready"
edge-vpn status >/dev/null || fail "not ready after all"
banner "$address" || fail "no SSH over the VPN"
! banner 192.0.2.2 2>/dev/null || fail "SSH past the VPN"
ip link del edge-vpn
systemctl start edge-vpn || fail "the interface does not come back"
banner "$address" || fail "no SSH over the VPN that came back"
[ "$key" = "$(wg show edge-vpn public-key)" ] || fail "another key"
echo "$address: SSH over the VPN alone, also after its interface was deleted"
