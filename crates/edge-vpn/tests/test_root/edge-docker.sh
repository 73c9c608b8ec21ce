#!/bin/sh
# Simulates edge-docker and NordVPN's client, with the client's messages.
# `replies/KEY.*` scripts a reply: the first line is its exit code, the rest its output.
s=${0%/usr/bin/edge-docker}/state
echo "$*" >>"$s/journal"
case $1 in
inspect)
	[ -e "$s/container" ] && case $4 in *-previous) false ;; esac || {
		echo "Error: No such container: $4" >&2
		exit 1
	}
	exec cat "$s/container"
	;;
run | replace)
	app=${2%-*}
	printf '[{"Config":{"Labels":{"edge.app":"%s","edge.version":"%s","edge.run":"sha256:0"}},"State":{"Running":true}}]\n' \
		"$app" "${2##*-}" >"$s/container"
	exit 0
	;;
rm) exec rm "$s/container" ;;
exec) ;;
*) exit 125 ;;
esac
shift 2
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
login)
	read -r token
	[ ! -e "$s/in" ] || no "You're already logged in."
	[ -e "$s/consent" ] || no "Do you allow us to collect and use limited app performance data? (y/n)"
	echo "Enter access token: $token"
	[ "$token" = "$(cat "$s/token")" ] || no "We couldn't log you in - the access token is not valid. Please check if you've entered the token correctly. If the issue persists, contact our customer support."
	: >"$s/in"
	echo "Welcome to NordVPN! You can now connect to the VPN by using 'nordvpn connect'."
	;;
analytics-off) : >"$s/consent" && echo "Analytics is set to 'disabled' successfully." ;;
meshnet-on)
	[ -e "$s/in" ] || no "You're not logged in."
	echo registration >>"$s/registrations"
	[ ! -e "$s/unregistered" ] || no "We're having trouble reaching our servers. Please try again later. If the issue persists, please contact our customer support."
	[ ! -e "$s/no-nf-tables" ] || no "We couldn't connect you to the VPN. Please check your internet connection and try again. If the issue persists, contact our customer support."
	[ ! -e "$s/on" ] || no "Meshnet is already enabled."
	: >"$s/on"
	echo "Meshnet is set to 'enabled' successfully."
	;;
"nickname "*)
	echo "${key##* }" >"$s/nick"
	echo "The nickname for this machine is now set to '${key##* }'."
	;;
peers)
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
"allow-incoming "*) echo "Incoming traffic for '${key##* }' has been allowed." ;;
"deny-routing "*) echo "Traffic routing for '${key##* }' has been denied." ;;
"deny-local "*) echo "Local network access for '${key##* }' has been denied." ;;
"deny-files "*) echo "Fileshare for '${key##* }' has been denied." ;;
*) no "Command '$key' doesn't exist." ;;
esac
