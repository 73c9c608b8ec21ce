# First process of a device, in namespaces of its own. Its arguments are the directory
# of the device, and `engine` if it starts the container engine. It ends when its
# standard input ends.
set -eu
directory=$1
root=$directory/root
mount --make-rprivate /
mount --bind "$root" "$root"
for name in bin sbin lib lib32 lib64 libx32; do
	if [ -h "/$name" ]; then
		cp -Pf "/$name" "$root/$name"
	elif [ -d "/$name" ]; then
		mkdir -p "$root/$name"
		mount --rbind "/$name" "$root/$name"
	fi
done
mkdir -p "$root/usr" "$root/proc" "$root/sys" "$root/dev" "$root/run" "$root/tmp" \
	"$root/root" "$root/var/lib" "$root/var/log" "$root/var/empty" "$root/old"
mount --rbind /usr "$root/usr"
# The programs of the device cover those of this machine.
mount -t overlay -o "lowerdir=$directory/programs:/usr/bin" overlay "$root/usr/bin"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mkdir -p "$root/run/sshd"
ln -sfn /run "$root/var/run"
chmod 1777 "$root/tmp"
for name in alternatives ld.so.cache ld.so.conf ld.so.conf.d login.defs pam.d security ssl; do
	if [ -e "/etc/$name" ] && [ ! -e "$root/etc/$name" ]; then
		cp -a "/etc/$name" "$root/etc/$name"
	fi
done
cd "$root"
pivot_root . old
umount -l /old
hostname localhost
ip link set lo up
if [ "$2" = engine ]; then
	rm -f /run/docker.pid
	# The unit of the engine runs this before the engine, too.
	edge-docker audit-stored
	# The second socket can be reached from outside.
	dockerd -H unix:///run/docker.sock -H unix:///data/engine.sock \
		>/var/log/dockerd 2>&1 &
	engine=$!
	until docker info >/run/info 2>/dev/null; do
		kill -0 "$engine" || exit 1
		sleep 0.05
	done
fi
echo ready
cat >/dev/null
[ -z "${engine-}" ] || {
	kill "$engine" || :
	wait "$engine" || :
}
