SUMMARY = "Data partition of an Edge AI device"
DESCRIPTION = "Mount units of /data and of directories bound to it, its \
directories, the size limits of the journal, and the SSH host keys."
HOMEPAGE = "https://example.com/edge-ai"
SECTION = "base"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

EDGE_UNITS = "data.mount edge-ssh-keys.service var-lib-containerd.mount var-log.mount"
# Enabled by nothing: OnFailure= of others starts it.
EDGE_RESCUE = "edge-rescue-ssh.service"

SRC_URI = "file://data.mount \
           file://edge-data.conf \
           file://edge-rescue-ssh.service \
           file://edge-ssh-keys.service \
           file://journald-audit.conf \
           file://journald-edge.conf \
           file://sshdgenkeys-edge.conf \
           file://var-lib-containerd.mount \
           file://var-log.mount \
           "

S = "${WORKDIR}"

inherit allarch features_check systemd

REQUIRED_DISTRO_FEATURES = "systemd"

SYSTEMD_SERVICE:${PN} = "${EDGE_UNITS}"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -d ${D}/data
    for unit in ${EDGE_UNITS} ${EDGE_RESCUE}; do
        install -D -m 0644 ${WORKDIR}/$unit ${D}${systemd_system_unitdir}/$unit
    done
    install -D -m 0644 ${WORKDIR}/edge-data.conf ${D}${nonarch_libdir}/tmpfiles.d/edge-data.conf
    install -D -m 0644 ${WORKDIR}/journald-edge.conf ${D}${nonarch_libdir}/systemd/journald.conf.d/edge.conf
    install -D -m 0644 ${WORKDIR}/journald-audit.conf \
        ${D}${nonarch_libdir}/systemd/journald@edge-audit.conf.d/edge.conf
    install -D -m 0644 ${WORKDIR}/sshdgenkeys-edge.conf \
        ${D}${systemd_system_unitdir}/sshdgenkeys.service.d/edge.conf
}

FILES:${PN} += "/data ${nonarch_libdir} ${systemd_system_unitdir}"

RDEPENDS:${PN} = "edge-generator edge-partition openssh-keygen openssh-sshd"
