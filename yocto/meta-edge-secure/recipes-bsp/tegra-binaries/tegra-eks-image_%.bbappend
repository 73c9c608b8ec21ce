# Encrypted key blob that matches the fuses, from a file outside the repository.
do_compile:append:edge() {
    if [ -n "${EDGE_EKS_IMAGE}" ]; then
        cp "${EDGE_EKS_IMAGE}" ${B}/eks.img
    fi
}
do_compile[file-checksums] += "${@d.getVar('EDGE_EKS_IMAGE') + ':True' if d.getVar('EDGE_EKS_IMAGE') else ''}"
