RDEPENDS:${PN}:append:edge = " edge-initramfs"
