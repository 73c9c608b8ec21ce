#!/bin/sh
# Simulates systemctl with one unit.
s=${0%/usr/bin/systemctl}/state
echo "systemctl $*" >>"$s/journal"
case $* in
"--no-block start edge-vpn-client.service") ;;
"stop "*) ;;
"show "*) cat "$s/exit-status" ;;
daemon-reload) ;;
"reload-or-restart sshd.service") ;;
*) exit 1 ;;
esac
