SUMMARY = "Recovery of an Edge AI device that hangs or panics"
DESCRIPTION = "Hardware watchdog, and the last messages of the kernel in the journal."
HOMEPAGE = "https://example.com/edge-ai"
SECTION = "base"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

SRC_URI = "file://pstore-edge.conf \
           file://system-edge.conf \
           "

S = "${WORKDIR}"

inherit allarch features_check

REQUIRED_DISTRO_FEATURES = "systemd"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -D -m 0644 ${WORKDIR}/system-edge.conf ${D}${nonarch_libdir}/systemd/system.conf.d/edge.conf
    install -D -m 0644 ${WORKDIR}/pstore-edge.conf ${D}${nonarch_libdir}/systemd/pstore.conf.d/edge.conf
}

FILES:${PN} += "${nonarch_libdir}/systemd"
