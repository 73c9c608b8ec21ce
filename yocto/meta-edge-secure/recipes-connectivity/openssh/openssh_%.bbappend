# Host keys lie on the data partition and are named in sshd_config.d; a
# read-only root would otherwise bring keys of its own, new at each boot.
do_install:append:edge() {
    sed -i '/^HostKey /d' ${D}${sysconfdir}/ssh/sshd_config_readonly
}

# One daemon that listens where its configuration says, which edge-vpn may
# narrow; a socket of systemd's would listen everywhere.
PACKAGECONFIG:edge = "systemd-sshd-service-mode"
