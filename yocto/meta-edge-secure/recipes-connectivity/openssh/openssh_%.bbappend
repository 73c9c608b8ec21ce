# Host keys are on the data partition and named in sshd_config.d. OpenEmbedded's
# configuration for a read-only root would create keys in memory, new at each boot.
do_install:append:edge() {
    sed -i '/^HostKey /d' ${D}${sysconfdir}/ssh/sshd_config_readonly
}

# One daemon that listens on the addresses of its configuration, which edge-vpn may
# restrict; socket activation would listen on all of them.
PACKAGECONFIG:edge = "systemd-sshd-service-mode"
