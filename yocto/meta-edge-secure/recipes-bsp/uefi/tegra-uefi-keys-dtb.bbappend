# Keys that UEFI enrols at the first boot, from a file outside the repository.
do_configure:prepend:edge() {
    if [ -n "${EDGE_UEFI_KEYS_DTS}" ]; then
        install -m 0644 "${EDGE_UEFI_KEYS_DTS}" ${WORKDIR}/UefiDefaultSecurityKeys.dts
    fi
}
do_configure[file-checksums] += "${@d.getVar('EDGE_UEFI_KEYS_DTS') + ':True' if d.getVar('EDGE_UEFI_KEYS_DTS') else ''}"
