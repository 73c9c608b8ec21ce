#!/bin/sh
# Simulates edge-docker and NordVPN's client, with the client's messages.
# `replies/KEY.*` scripts a reply: the first line is its exit code, the rest its output.
s=${0%/usr/bin/edge-docker}/state
echo "$*" >>"$s/journal"
[ "$1" = exec ] || exit 125
shift
[ "$1" != --interactive ] || shift
shift
key=$*
for f in "$s/replies/$key".*; do
	[ -e "$f" ] || continue
	{
		read -r code
		cat
	} <"$f"
	read -r code <"$f"
	case $f in *.always) ;; *) rm "$f" ;; esac
	exit "$code"
done
no() {
	echo "$1"
	exit 1
}
case $key in
nordvpn-login)
	read -r token
	[ ! -e "$s/in" ] || no "You're already logged in."
	[ -e "$s/consent" ] || no "Do you allow us to collect and use limited app performance data? (y/n)"
	echo "Enter access token: $token"
	[ "$token" = "$(cat "$s/token")" ] || no "We couldn't log you in - the access token is not valid. Please check if you've entered the token correctly."
	: >"$s/in"
	echo "Welcome to NordVPN! You can now connect to the VPN by using 'nordvpn connect'."
	;;
"nordvpn set analytics off") : >"$s/consent" && echo "Analytics is set to 'disabled' successfully." ;;
"nordvpn set meshnet on")
	[ -e "$s/in" ] || no "You're not logged in."
	[ ! -e "$s/on" ] || no "Meshnet is already enabled."
	: >"$s/on"
	echo "Meshnet is set to 'enabled' successfully."
	;;
"nordvpn meshnet set nickname "*)
	echo "${key##* }" >"$s/nick"
	echo "The nickname for this machine is now set to '${key##* }'."
	;;
"nordvpn meshnet peer list")
	[ -e "$s/in" ] || no "You're not logged in."
	[ -e "$s/on" ] || no 'Meshnet is not enabled. Use the "nordvpn set meshnet on" command to enable it.'
	cat "$s/notice"
	echo "This device:"
	if [ -e "$s/nick" ]; then
		echo "Nickname: $(cat "$s/nick")"
		echo "Hostname: me-alps.nord"
	else
		echo "Hostname: me-alps.nord"
		echo "Nickname: -"
	fi
	printf 'IP: 100.64.0.15\nPublic Key: own\nOS: linux\nDistribution: Debian\n\n'
	cat "$s/peers"
	;;
"nordvpn meshnet peer "*) echo "done" ;;
*) no "Command '$key' doesn't exist." ;;
esac
