# Containers with a restart policy start with the device, not with the first
# request to the engine.
SYSTEMD_SERVICE:${PN}:append:edge = " docker.service"
