# Run by root on the test VM, which runs the app hello with the restart policy
# unless-stopped: the engine is killed ten times in a row, then containerd with all of
# its processes. All apps that ran must run again, and nothing else.
set -eu
# The last lines are shown.
fail() {
	{
		journalctl -b -o cat -p notice -u edge-docker-recover --no-pager -n 2
		systemctl show -P ActiveState -P SubState docker edge-docker-recover | tr '\n' ' '
		find /data/config/edge-docker/interrupted -type f
		docker ps -a --format '{{.Names}}, {{.Status}}' | tr '\n' ';'
		echo
		docker inspect hello -f '{{json .State}}'
		echo "$*"
	} >&2
	exit 1
}
apps() {
	docker ps --filter name=hello --filter name=stopped --format '{{.Names}}'
}
await() {
	tries=0
	until "$@"; do
		tries=$((tries + 1))
		[ $tries -lt 240 ] || fail "not within four minutes: $*"
		sleep 1
	done
}
# The engine that was started after the one with this PID.
is_started() {
	[ "$(systemctl show -P MainPID docker)" != "$1" ] && systemctl --quiet is-active docker
}
# Whether the process of the container exists, which the engine may not have noticed yet.
serves() {
	[ "$(apps)" = hello ] && [ -e "/proc/$(docker inspect hello -f '{{.State.Pid}}')/exe" ] &&
		curl -fsS -m 5 http://127.0.0.1:8080/ >/dev/null 2>&1
}
await serves
for _ in 1 2 3 4 5 6 7 8 9 10; do
	pid=$(systemctl show -P MainPID docker)
	systemctl kill -s KILL docker
	await is_started "$pid"
done
await serves
started=$(edge-docker ledger | grep -c 'replace --recover.*container hello' || :)
[ "$started" -ge 1 ] || fail "recovery started nothing"
no_marks() {
	[ -z "$(ls /data/config/edge-docker/interrupted)" ]
}
await no_marks
pid=$(systemctl show -P MainPID containerd)
systemctl kill -s KILL containerd
# The app may go on meanwhile, so the containerd that comes next is awaited first.
is_back() {
	[ "$(systemctl show -P MainPID containerd)" != "$pid" ] &&
		systemctl --quiet is-active containerd docker && ctr version >/dev/null 2>&1
}
await is_back
await serves
echo "killed 10 times: recovered $started times; containerd killed: hello serves"
