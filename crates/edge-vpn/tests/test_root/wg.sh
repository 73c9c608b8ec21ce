#!/bin/sh
# Simulates `wg` with one interface, whose peer always answers the handshake.
s=${0%/usr/bin/wg}/state
case $1 in
genkey) exec /usr/bin/wg genkey ;;
pubkey) exec /usr/bin/wg pubkey ;;
show)
	key=none
	[ -e "$s/link" ] || exit 1
	[ ! -s "$s/private" ] || read -r key <"$s/private"
	printf '%s\tpub\t1\toff\n' "$key"
	[ ! -s "$s/wg-peers" ] || cat "$s/wg-peers"
	;;
set)
	shift 2
	while [ $# -gt 0 ]; do
		case $1 in
		private-key)
			read -r key <"$2"
			echo "$key" >"$s/private"
			;;
		peer) peer=$2 ;;
		endpoint) endpoint=$2 ;;
		persistent-keepalive) pace=$2 ;;
		allowed-ips) printf '%s\t(none)\t%s\t%s\t9999999999\t1\t1\t%s\n' "$peer" "$endpoint" "$2" "$pace" >"$s/wg-peers" ;;
		esac
		shift 2
	done
	;;
esac
