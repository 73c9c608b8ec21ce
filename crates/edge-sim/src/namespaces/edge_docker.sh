#!/bin/sh
# Scripted edge-docker of a device: writes its arguments to a file named after the
# command. Files in /data control it:
#   seconds  duration of a pull and of a replace
#   hold     a pipe: a pull continues when a line is written into it
#   same     a replace finds that the same version runs
#   broken   a replace fails and is rolled back
#   images   output of `images`
#   trouble  a line for each `inspect` that fails
stamp() {
	echo "$1 $(date +%s%N)" >>/data/times
}
takes() {
	[ ! -e /data/seconds ] || sleep "$(cat /data/seconds)"
}
[ "$2" = --status ] && exit 0
# As sshd calls it: the home directory is the third argument of the command.
[ "$1" = note-ssh-key ] && exec cat "$4/.ssh/authorized_keys"
printf '%s\0' "$@" >"/data/$1"
case $1 in
pull)
	stamp begin
	cat >/data/password
	[ ! -e /data/hold ] || read -r _ </data/hold
	takes
	;;
replace)
	takes
	stamp end
	[ ! -e /data/same ] || echo "hello v1 runs already: nothing changed"
	if [ -e /data/broken ]; then
		echo "edge-docker: hello: it ended with exit code 7; switched back" >&2
		exit 123
	fi
	;;
images) [ ! -e /data/images ] || cat /data/images ;;
inspect)
	if [ -s /data/trouble ]; then
		sed -i 1d /data/trouble
		echo "the engine is in trouble" >&2
		exit 1
	fi
	;;
load) cat >/data/loaded ;;
sync)
	head -c 1 >/data/synced
	echo 1
	cat >>/data/synced
	;;
esac
