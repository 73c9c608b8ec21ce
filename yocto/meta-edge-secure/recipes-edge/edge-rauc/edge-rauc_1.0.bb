SUMMARY = "Configuration of RAUC on an Edge AI device"
DESCRIPTION = "The two slots that RAUC writes for edge-os. It takes the place of the \
example of meta-rauc, which has trust anchors of its own."
HOMEPAGE = "https://example.com/edge-ai"
SECTION = "base"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

SRC_URI = "file://system.conf"

S = "${WORKDIR}"

# The configuration names the machine.
PACKAGE_ARCH = "${MACHINE_ARCH}"

RPROVIDES:${PN} += "virtual-rauc-conf"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -d ${D}${sysconfdir}/rauc
    sed 's/@MACHINE@/${MACHINE}/' ${WORKDIR}/system.conf >${WORKDIR}/system.conf.machine
    install -m 0644 ${WORKDIR}/system.conf.machine ${D}${sysconfdir}/rauc/system.conf
}
