# edge-os runs `rauc install` and waits for it: no service and no D-Bus. Bundles are made
# on the build machine, and the slots are partitions that exist.
PACKAGECONFIG:edge = "network nocreate streaming"
# rauc-mark-good would confirm each start before the gate of edge-os, and the programs of
# squashfs make bundles.
RRECOMMENDS:${PN}:remove:edge = "${PN}-mark-good squashfs-tools"
