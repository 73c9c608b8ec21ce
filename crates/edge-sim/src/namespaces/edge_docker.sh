#!/bin/sh
# Stand-in for edge-docker on a device: keeps the words that it is given, one
# file for each command, and takes as long as it is told. Files in /data:
#   seconds  how long a pull or a switch takes
#   hold     a pipe: a pull goes on when somebody writes a line into it
#   broken   a switch fails and is undone
#   images   what `images` prints
#   trouble  a line for each `inspect` that fails from now on
stamp() {
	echo "$1 $(date +%s%N)" >>/data/times
}
takes() {
	[ ! -e /data/seconds ] || sleep "$(cat /data/seconds)"
}
[ "$2" = --status ] && exit 0
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
