SUMMARY = "Claim certificate of a batch of Edge AI devices"
DESCRIPTION = "Certificate and key with which a new device requests its \
identity, from the directory EDGE_CLAIM_DIR outside the repository. The \
directory is read by do_install, so that parsing works without it."
HOMEPAGE = "https://example.com/edge-ai"
SECTION = "base"
LICENSE = "CLOSED"

SRC_URI = ""

EDGE_CLAIM_DIR ??= ""
EDGE_CLAIM_FILES = "claim.crt claim.key config.json"

# Shared state would carry the claim key to every machine that fetches it.
# nooelint: oelint.vars.mispell.unknown
SSTATE_SKIP_CREATION = "1"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    if [ -z "${EDGE_CLAIM_DIR}" ]; then
        bbfatal "EDGE_CLAIM_DIR is not set: name the directory with ${EDGE_CLAIM_FILES}"
    fi
    for file in ${EDGE_CLAIM_FILES}; do
        if [ ! -s "${EDGE_CLAIM_DIR}/$file" ]; then
            bbfatal "EDGE_CLAIM_DIR: ${EDGE_CLAIM_DIR}/$file is missing or empty"
        fi
    done
    install -D -m 0644 ${EDGE_CLAIM_DIR}/claim.crt ${D}${sysconfdir}/edge-ai/claim/claim.crt
    install -D -m 0600 ${EDGE_CLAIM_DIR}/claim.key ${D}${sysconfdir}/edge-ai/claim/claim.key
    install -D -m 0644 ${EDGE_CLAIM_DIR}/config.json ${D}${sysconfdir}/edge-ai/claim/config.json
    if [ -s "${EDGE_CLAIM_DIR}/nordvpn-token" ]; then
        install -D -m 0600 ${EDGE_CLAIM_DIR}/nordvpn-token ${D}${sysconfdir}/edge-ai/claim/nordvpn-token
    fi
}
# A change of the claim rebuilds the package.
do_install[file-checksums] += "${@' '.join('%s/%s:True' % (d.getVar('EDGE_CLAIM_DIR'), f) \
    for f in (d.getVar('EDGE_CLAIM_FILES') + ' nordvpn-token').split()) if d.getVar('EDGE_CLAIM_DIR') else ''}"

FILES:${PN} += "${sysconfdir}/edge-ai/claim"
