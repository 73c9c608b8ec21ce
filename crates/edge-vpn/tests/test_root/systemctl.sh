#!/bin/sh
# Simulates systemctl with one unit.
s=${0%/usr/bin/systemctl}/state
echo "systemctl $*" >>"$s/journal"
case $* in
"is-active --quiet "*) [ -e "$s/active" ] ;;
"--no-block start "*) : >"$s/active" ;;
"stop "*) rm -f "$s/active" ;;
"show "*) cat "$s/exit-status" ;;
daemon-reload) ;;
"reload-or-restart sshd.service") ;;
*) exit 1 ;;
esac
