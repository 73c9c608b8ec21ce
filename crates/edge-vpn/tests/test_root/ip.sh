#!/bin/sh
# Simulates `ip` with one interface.
s=${0%/usr/sbin/ip}/state
case $* in
"-json address show dev "*)
	[ -e "$s/link" ] || exit 1
	printf '[{"flags":['
	[ ! -e "$s/up" ] || printf '"UP"'
	printf '],"addr_info":['
	[ ! -s "$s/address" ] || {
		read -r a <"$s/address"
		printf '{"local":"%s","prefixlen":%s,"scope":"global"}' "${a%/*}" "${a#*/}"
	}
	echo ']}]'
	;;
"link add "*" type wireguard") : >"$s/link" ;;
"link set "*" up") : >"$s/up" ;;
"address replace "*) echo "$3" >"$s/address" ;;
*) exit 1 ;;
esac
