SUMMARY = "Update of the operating system of an Edge AI device"
DESCRIPTION = "Bundle of RAUC with the root file system of EDGE_BUNDLE_IMAGE, which \
`edge-app os push` signs and pushes."
HOMEPAGE = "https://example.com/edge-ai"
SECTION = "images"
LICENSE = "MIT"

inherit bundle

DEPENDS += "openssl-native"

# Nothing is fetched.
SRC_URI = ""

# Image for the field; `edge-ai-image-dev` for development.
EDGE_BUNDLE_IMAGE ??= "edge-ai-image"

RAUC_BUNDLE_COMPATIBLE = "${MACHINE}"
RAUC_BUNDLE_VERSION = "${EDGE_OS_VERSION}"
RAUC_BUNDLE_FORMAT = "verity"
RAUC_BUNDLE_SLOTS = "rootfs"
RAUC_SLOT_rootfs = "${EDGE_BUNDLE_IMAGE}"
RAUC_SLOT_rootfs[fstype] = "ext4"
# Devices fetch only blocks that differ from those of both slots.
RAUC_SLOT_rootfs[adaptive] = "block-hash-index"
# The kernel of L4T reads no zstd.
BUNDLE_ARGS = '--mksquashfs-args="-comp xz"'

# RAUC makes no bundle without a signature. `edge-app os push` replaces it by one of the OS
# key, and no device trusts this one.
RAUC_KEY_FILE = "${WORKDIR}/build.key"
RAUC_CERT_FILE = "${WORKDIR}/build.pem"
do_bundle:prepend() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
        -subj /CN=build -keyout ${RAUC_KEY_FILE} -out ${RAUC_CERT_FILE}
}
do_bundle:append() {
    rm -f ${RAUC_KEY_FILE}
}
