# edge-os runs `rauc install` and waits for it: no service and no D-Bus. Bundles are made
# on the build machine, and the slots are partitions that exist.
PACKAGECONFIG:edge = "network nocreate streaming"
