# Run by mmdebstrap with the new root file system as $1, before it is packed.
set -eu
root=$1

# The initrd unpacks slowly under software emulation: only what is needed.
mkdir -p "$root/etc/initramfs-tools/conf.d"
printf 'MODULES=list\nCOMPRESS=lz4\n' >"$root/etc/initramfs-tools/conf.d/vm"
printf 'nvme\next4\n' >>"$root/etc/initramfs-tools/modules"
chroot "$root" update-initramfs -u

chroot "$root" groupadd --gid 61000 edge
chroot "$root" useradd --uid 61000 --gid 61000 --create-home --shell /bin/bash edge
mkdir -p "$root/data" "$root/var/lib/sudo" "$root/var/lib/containerd"
rm -f "$root"/etc/ssh/ssh_host_*

# What a read-only root still needs to write, and forgets.
cat >"$root/etc/fstab" <<'END'
tmpfs /tmp tmpfs mode=1777,nosuid,nodev 0 0
tmpfs /var/tmp tmpfs mode=1777,nosuid,nodev 0 0
tmpfs /var/lib/systemd tmpfs mode=0755 0 0
tmpfs /var/lib/sudo tmpfs mode=0700 0 0
tmpfs /var/cache tmpfs mode=0755 0 0
END
cat >"$root/etc/systemd/network/10-vm.network" <<'END'
[Match]
Name=en*

[Network]
Address=10.0.2.15/24
Gateway=10.0.2.2
LinkLocalAddressing=no
END
mkdir -p "$root/var/lib/dbus"
ln -sf /etc/machine-id "$root/var/lib/dbus/machine-id"
: >"$root/etc/default/locale"
printf 'edge-vm\n' >"$root/etc/hostname"
printf '127.0.0.1 localhost edge-vm\n10.0.2.2 cloud.edge.test\n' >"$root/etc/hosts"

systemctl --quiet --root "$root" set-default multi-user.target
systemctl --quiet --root "$root" enable systemd-networkd.service ssh.service docker.service
systemctl --quiet --root "$root" mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
	e2scrub_all.timer e2scrub_reap.service fstrim.timer getty@tty1.service \
	serial-getty@ttyS0.service systemd-firstboot.service
