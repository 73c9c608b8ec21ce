# Runs a client (its directory and program are the second and third argument) in network
# and mount namespaces of its own, where the broker has some addresses that are dead.
# The last line on standard output is the number of seconds, or why there is none.
set -eu
network=$1 directory=$2 client=$3
ip link set lo up
# docker0 has an IPv4 address in front of nothing.
ip link add docker0 type veth peer name peer0
ip link set peer0 up
ip addr add 172.17.0.1/16 dev docker0
ip addr add 2001:db8::1/64 dev docker0 nodad
ip link set docker0 up
# Deprecated, so that the address comes after the others, see RFC 6724.
ip addr add fd00::1/128 dev lo nodad preferred_lft 0
for dead in 9 a; do
	ip neigh add 2001:db8::$dead lladdr 02:00:00:00:00:09 dev docker0
done
# The order in which a name's addresses are tried depends on the routes.
until ip -6 route get 2001:db8::9 2>/dev/null | grep -q docker0; do
	sleep 0.05
done
# Listens and accepts, then sends nothing, or handshake records that never end.
listen() {
	python3 -c '
import socket, sys, time
address, what = sys.argv[1:]
server = socket.create_server((address, 8883), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
kept = []
flood = b"\x16\x03\x03\x00\x04\x02\xff\xff\xff" + b"\x16\x03\x03\x00\x01\x00" * 500
while True:
    client, _ = server.accept()
    try:
        while what == "flood":
            client.sendall(flood)
    except OSError:
        continue
    kept.append(client)
' "$1" "$2" &
}
hosts() {
	for address; do
		echo "$address cloud.edge.test"
	done >"$directory/hosts"
	mount --bind "$directory/hosts" /etc/hosts
}
listeners=1
case $network in
ipv6)
	hosts 192.0.2.1 ::1
	mosquitto -c "$directory/loopback.conf" >/dev/null 2>&1 &
	;;
dead)
	hosts 2001:db8::9 2001:db8::a fd00::1
	mosquitto -c "$directory/unique.conf" >/dev/null 2>&1 &
	;;
silent)
	hosts 2001:db8::1 fd00::1
	listen 2001:db8::1 silent
	mosquitto -c "$directory/unique.conf" >/dev/null 2>&1 &
	listeners=2
	;;
flood)
	hosts 127.0.0.1
	listen 127.0.0.1 flood
	;;
esac
tries=0
until [ "$(ss -Hltn sport = :8883 | wc -l)" -ge $listeners ]; do
	tries=$((tries + 1))
	[ $tries -lt 200 ] || exit 1
	sleep 0.05
done
getent ahosts cloud.edge.test >&2
begin=$(date +%s)
code=0
seconds=$(timeout 40 "$client" "$directory" cloud.edge.test 8883 2>"$directory/errors") || code=$?
took=$(($(date +%s) - begin))
if [ -n "$seconds" ]; then
	printf '%.2f s\n' "$seconds"
elif [ $code = 124 ]; then
	echo "no end in $took s"
else
	echo "error after $took s"
fi
