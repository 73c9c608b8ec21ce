# Host keys lie on the data partition and are named in sshd_config.d; a
# read-only root would otherwise bring keys of its own, new at each boot.
do_install:append:edge() {
    sed -i '/^HostKey /d' ${D}${sysconfdir}/ssh/sshd_config_readonly
}
