SUMMARY = "Login user of engineers on an Edge AI device"
DESCRIPTION = "The user edge: no password, SSH keys from the file \
EDGE_AUTHORIZED_KEYS, not in the group of the container engine."
HOMEPAGE = "https://example.com/edge-ai"
SECTION = "base"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

SRC_URI = ""

inherit useradd

EDGE_AUTHORIZED_KEYS ??= ""

USERADD_PACKAGES = "${PN}"
# `*` matches no password. `!` would lock the account, and sshd would reject its keys.
USERADD_PARAM:${PN} = "--uid 1000 --user-group --no-create-home --home-dir /home/edge --shell /bin/sh --password '*' edge"

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
}
# A change of the keys rebuilds the package.
do_install[file-checksums] += "${@d.getVar('EDGE_AUTHORIZED_KEYS') + ':True' if d.getVar('EDGE_AUTHORIZED_KEYS') else ''}"

FILES:${PN} += "/home/edge"
