SUMMARY = "Network of an Edge AI device"
DESCRIPTION = "NetworkManager with its connections and its state on the data \
partition; further connections from the directory EDGE_NETWORK_DIR, if it is set."
HOMEPAGE = "https://example.com/edge-ai"
SECTION = "base"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

SRC_URI = "file://edge-network.conf \
           file://networkmanager-data.conf \
           file://networkmanager-edge.conf \
           file://var-lib-NetworkManager.mount \
           "

S = "${WORKDIR}"

inherit features_check systemd

REQUIRED_DISTRO_FEATURES = "systemd"

SYSTEMD_SERVICE:${PN} = "var-lib-NetworkManager.mount"

EDGE_NETWORK_DIR ??= ""

# Shared state would carry Wi-Fi passwords to every machine that fetches it.
# nooelint: oelint.vars.mispell.unknown
SSTATE_SKIP_CREATION = "1"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -D -m 0644 ${WORKDIR}/edge-network.conf ${D}${nonarch_libdir}/tmpfiles.d/edge-network.conf
    install -D -m 0644 ${WORKDIR}/networkmanager-edge.conf ${D}${nonarch_libdir}/NetworkManager/conf.d/edge.conf
    install -D -m 0644 ${WORKDIR}/networkmanager-data.conf \
        ${D}${systemd_system_unitdir}/NetworkManager.service.d/edge.conf
    install -D -m 0644 ${WORKDIR}/var-lib-NetworkManager.mount \
        ${D}${systemd_system_unitdir}/var-lib-NetworkManager.mount
    for connection in ${EDGE_NETWORK_DIR}/*.nmconnection; do
        [ ! -f "$connection" ] || install -D -m 0600 -t \
            ${D}${nonarch_libdir}/NetworkManager/system-connections "$connection"
    done
}
# A change of the connections rebuilds the package.
do_install[file-checksums] += "${@d.getVar('EDGE_NETWORK_DIR') + '/*:True' if d.getVar('EDGE_NETWORK_DIR') else ''}"

FILES:${PN} += "${nonarch_libdir} ${systemd_system_unitdir}"

RDEPENDS:${PN} = "edge-data networkmanager"
