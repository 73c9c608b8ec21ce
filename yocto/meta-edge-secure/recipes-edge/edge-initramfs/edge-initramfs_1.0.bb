SUMMARY = "Machine ID and host name from the serial number"
DESCRIPTION = "A read-only root cannot store a machine ID, and a random one at \
each boot would start a new journal: both names are derived from the board's \
serial number before systemd starts."
HOMEPAGE = "https://example.com/edge-ai"
SECTION = "base"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

SRC_URI = "file://platform-pre-switchroot"

S = "${WORKDIR}"

inherit allarch

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    # Sourced by meta-tegra's init before it switches to the real root.
    install -D -m 0644 ${WORKDIR}/platform-pre-switchroot ${D}${sysconfdir}/platform-pre-switchroot
}
