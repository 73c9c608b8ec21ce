# With socket activation alone, containers with a restart policy would start at the
# first request to the engine instead of at boot.
SYSTEMD_SERVICE:${PN}:append:edge = " docker.service"
