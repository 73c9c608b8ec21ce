dir=$1
shift
ip link set lo up
mount --bind "$dir/resolv.conf" /etc/resolv.conf
# dockerd would use the containerd of the host, whose containers and mounts are in the
# host's namespaces.
if [ -d /run/containerd ]; then
	mount -t tmpfs -o mode=0711 tmpfs /run/containerd
fi
exec "$@"
