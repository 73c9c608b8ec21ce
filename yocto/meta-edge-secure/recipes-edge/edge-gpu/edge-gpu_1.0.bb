SUMMARY = "GPU containers on an Edge AI device"
DESCRIPTION = "NVIDIA's container toolkit in CSV mode, CDI device names for the \
engine from the same lists, and udev rules for the groups of the devices."
HOMEPAGE = "https://example.com/edge-ai"
SECTION = "base"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

SRC_URI = "file://70-edge-gpu.rules \
           file://edge-cdi.service \
           "

S = "${WORKDIR}"

inherit features_check systemd

REQUIRED_DISTRO_FEATURES = "systemd virtualization"

SYSTEMD_SERVICE:${PN} = "edge-cdi.service"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -D -m 0644 ${WORKDIR}/edge-cdi.service ${D}${systemd_system_unitdir}/edge-cdi.service
    install -D -m 0644 ${WORKDIR}/70-edge-gpu.rules ${D}${nonarch_libdir}/udev/rules.d/70-edge-gpu.rules
}

FILES:${PN} += "${nonarch_libdir}/udev ${systemd_system_unitdir}"

RDEPENDS:${PN} = "nvidia-container-toolkit"

COMPATIBLE_MACHINE = "(tegra)"
