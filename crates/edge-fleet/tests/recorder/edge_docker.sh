#!/bin/sh
# edge-docker of a test. Apps, images and sets are files in `state` of the test root:
#   apps/NAME        container as `inspect` prints it; NAME-previous is the earlier version
#   versions/TAG     container that TAG would have
#   sets/HEX         sets of the registry, kept/HEX those that were taken
#   sick/TAG         versions that do not become healthy
#   offline          the registry does not answer
#   refuse           rule by which sets are refused; forbidden/TAG by the policy
#   floor            lowest number
#   journal          commands that change something
set -eu
root=${0%/usr/bin/edge-docker}
state=$root/state
cd "$state"
# A command whose caller was killed ends before the next one begins.
exec 9>>lock
flock 9

note() {
	echo "$*" >>journal
}

refuse() {
	echo "edge-docker: $1" >&2
	exit 125
}

connect() {
	[ ! -e offline ] || {
		echo "edge-docker: the registry does not answer" >&2
		exit 124
	}
}

document() {
	printf '{"v":1,"set":%s,"floor":%s}\n' "$(cat "$1")" "$(cat floor)"
}

# Puts a version into the place of NAME.
deploy() {
	tag=$1
	name=$(sed 's/.*"app":"\([^"]*\)".*/\1/' "versions/$tag")
	if [ -e "sick/$tag" ]; then
		printf '{"name":"%s","phase":"back","reason":"its health check fails","log":"one\\ntwo"}\n' \
			"$name" >status.new
		mv status.new status
		echo "edge-docker: $name was rolled back" >&2
		exit 123
	fi
	if [ -e "apps/$name" ] && ! cmp -s "apps/$name" "versions/$tag"; then
		sed "s,\"/$name\",\"/$name-previous\"," "apps/$name" >previous.new
		mv previous.new "apps/$name-previous"
	fi
	cp "versions/$tag" app.new
	mv app.new "apps/$name"
}

case "$1 ${2-}" in
"ps -a")
	for file in apps/*; do
		[ -e "$file" ] || continue
		name=${file#apps/}
		printf '%s\t%s\n' "${name%-previous}" "$name"
	done
	;;
"inspect --type")
	shift 5
	for name; do
		cat "apps/$name"
	done
	;;
"replace --status")
	[ ! -e status ] || cat status
	;;
"replace --recover")
	note "$@"
	rm -f status
	;;
"replace --check")
	[ ! -e "forbidden/$5" ] || refuse "$5 requests a grant that is not signed"
	[ -e "images/$5" ] || connect
	;;
"replace --set")
	note "$@"
	[ -e "kept/${3#sha256:}" ] || refuse "the set is not on this device"
	[ -e "images/$4" ] || refuse "no such image"
	deploy "$4"
	;;
"replace "*)
	note "$@"
	deploy "${2%@*}"
	;;
"rollback "*)
	note "$@"
	[ -e "apps/$2-previous" ] || refuse "$2 has no previous version"
	sed "s,\"/$2-previous\",\"/$2\"," "apps/$2-previous" >back.new
	sed "s,\"/$2\",\"/$2-previous\"," "apps/$2" >previous.new
	mv back.new "apps/$2"
	mv previous.new "apps/$2-previous"
	;;
"pull --quiet")
	connect
	note "$@"
	[ ! -e full ] || refuse "write layer: no space left on device"
	touch "images/$5"
	;;
"set take")
	connect
	note "$@"
	hex=${3#*@sha256:}
	if [ -s refuse ]; then
		printf '{"refused":"%s","message":"no"}\n' "$(cat refuse)"
		refuse no
	fi
	[ -e "sets/$hex" ] || refuse "no such set"
	cp "sets/$hex" kept.new
	mv kept.new "kept/$hex"
	document "kept/$hex"
	;;
"set show")
	[ -e "kept/${3#sha256:}" ] || refuse "the set is not on this device"
	document "kept/${3#sha256:}"
	;;
"set commit")
	note "$@"
	sed 's/.*"serial":\([0-9]*\)}$/\1/' "kept/${3#sha256:}" >floor.new
	mv floor.new floor
	;;
"stop "* | "rm "*)
	note "$@"
	[ -e "apps/$2" ] || refuse "no such container"
	[ "$1" = stop ] || rm -f "apps/$2"
	;;
*)
	refuse "unknown command $*"
	;;
esac
