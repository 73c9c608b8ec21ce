SUMMARY = "Login user of engineers on an Edge AI device"
DESCRIPTION = "The user edge: no password, SSH keys from the file \
EDGE_AUTHORIZED_KEYS, not in the group of the container engine. Mount options and \
kernel settings that keep users away from the processes of others."
HOMEPAGE = "https://example.com/edge-ai"
SECTION = "base"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

SRC_URI = "file://edge-mounts.service \
           file://sysctl-edge.conf \
           file://user-runtime-dir-edge.conf \
           "

S = "${WORKDIR}"

inherit features_check systemd useradd

REQUIRED_DISTRO_FEATURES = "systemd"

SYSTEMD_SERVICE:${PN} = "edge-mounts.service"

EDGE_AUTHORIZED_KEYS ??= ""

USERADD_PACKAGES = "${PN}"
# An ID that no container image uses, outside of the ranges of systemd, Debian and
# useradd: `contract::login` has the reasons, and containers may not take it.
GROUPADD_PARAM:${PN} = "--gid 61000 edge"
# `*` matches no password. `!` would lock the account, and sshd would reject its keys.
USERADD_PARAM:${PN} = "--uid 61000 --gid 61000 --no-create-home --home-dir /home/edge --shell /bin/sh --password '*' edge"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    if [ -z "${EDGE_AUTHORIZED_KEYS}" ]; then
        bbfatal "EDGE_AUTHORIZED_KEYS is not set: name the file with the public SSH keys of your engineers"
    fi
    if [ ! -s "${EDGE_AUTHORIZED_KEYS}" ]; then
        bbfatal "EDGE_AUTHORIZED_KEYS: ${EDGE_AUTHORIZED_KEYS} is missing or empty: nobody could log in"
    fi
    install -d -m 0750 -o edge -g edge ${D}/home/edge
    install -d -m 0700 -o edge -g edge ${D}/home/edge/.ssh
    install -m 0600 -o edge -g edge ${EDGE_AUTHORIZED_KEYS} ${D}/home/edge/.ssh/authorized_keys
    install -D -m 0644 ${WORKDIR}/edge-mounts.service ${D}${systemd_system_unitdir}/edge-mounts.service
    install -D -m 0644 ${WORKDIR}/user-runtime-dir-edge.conf \
        ${D}${systemd_system_unitdir}/user-runtime-dir@.service.d/edge.conf
    install -D -m 0644 ${WORKDIR}/sysctl-edge.conf ${D}${nonarch_libdir}/sysctl.d/60-edge.conf
}
# A change of the keys rebuilds the package.
do_install[file-checksums] += "${@d.getVar('EDGE_AUTHORIZED_KEYS') + ':True' if d.getVar('EDGE_AUTHORIZED_KEYS') else ''}"

FILES:${PN} += "/home/edge ${nonarch_libdir} ${systemd_system_unitdir}"

RDEPENDS:${PN} = "util-linux-mount"
