# Secure boot of a Jetson: signed boot loaders, signed kernel, own keys in OP-TEE.
# Enabled by kas/secure-boot.yml. The build stops if a key is missing or is inside
# the repository.

python edge_secure_boot_handler () {
    import edge.keys
    problems = edge.keys.problems(d.getVar)
    if problems:
        bb.fatal('secure boot needs all its keys:\n  ' + '\n  '.join(problems))
}
addhandler edge_secure_boot_handler
edge_secure_boot_handler[eventmask] = "bb.event.ConfigParsed"

# Variables of meta-tegra, which the linter does not know.
# nooelint: oelint.vars.mispell.unknown
TEGRA_SIGNING_PKC = "${EDGE_SIGNING_PKC}"
# nooelint: oelint.vars.mispell.unknown
TEGRA_SIGNING_SBK = "${EDGE_SIGNING_SBK}"
# nooelint: oelint.vars.mispell.unknown
TEGRA_UEFI_DB_KEY = "${EDGE_UEFI_DB_KEY}"
# nooelint: oelint.vars.mispell.unknown
TEGRA_UEFI_DB_CERT = "${EDGE_UEFI_DB_CERT}"
# A class that is inherited by the configuration has to name other recipes.
# nooelint: oelint.vars.specific
EXTRA_OEMAKE:append:pn-optee-os = " TA_SIGN_KEY=${EDGE_TA_SIGN_KEY}"
# nooelint: oelint.vars.specific
EXTRA_OEMAKE:append:pn-optee-os-tadevkit = " TA_SIGN_KEY=${EDGE_TA_SIGN_KEY}"
# The applications are signed where they are built.
# nooelint: oelint.vars.specific
EXTRA_OEMAKE:append:pn-optee-nvsamples = " TA_SIGN_KEY=${EDGE_TA_SIGN_KEY}"
# nooelint: oelint.vars.specific
EXTRA_OEMAKE:append:pn-optee-test = " TA_SIGN_KEY=${EDGE_TA_SIGN_KEY}"
# The development kit contains the key.
# nooelint: oelint.vars.specific,oelint.vars.mispell.unknown
SSTATE_SKIP_CREATION:pn-optee-os-tadevkit = "1"
