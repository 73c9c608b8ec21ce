SUMMARY = "Device programs of Edge AI"
DESCRIPTION = "Data partition, identity, VPN, unit generator, heartbeat, OS slots, release \
sets and container policy: one package per program, with its units."
HOMEPAGE = "https://example.com/edge-ai"
SECTION = "base"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE-MIT;md5=b5a3affcc3707883342665f500f33d33 \
                    file://LICENSE-APACHE;md5=3b83ef96387f14655fc854ddc3c6bd57 \
                    "

DEPENDS = "openssl"

require edge-tools-crates.inc

inherit cargo cargo-update-recipe-crates externalsrc features_check pkgconfig systemd

REQUIRED_DISTRO_FEATURES = "systemd"

# The repository that contains this layer.
EXTERNALSRC = "${@os.path.normpath(os.path.join(d.getVar('THISDIR'), '../../../..'))}"
EXTERNALSRC_BUILD = "${WORKDIR}/build"

# Programs of the device; the rest of the workspace is for laptops and tests.
EDGE_TOOLS = "edge-partition edge-provision edge-vpn edge-docker edge-generator edge-heartbeat edge-os edge-fleet"

CARGO_BUILD_FLAGS += "${@' '.join('-p ' + t for t in d.getVar('EDGE_TOOLS').split())}"

# The image's OpenSSL, so that security updates reach the programs; never the copy
# that a crate vendors.
export OPENSSL_NO_VENDOR = "1"
export OPENSSL_DIR = "${STAGING_EXECPREFIXDIR}"

# Replaces cargo.bbclass's do_install, which puts every executable into /usr/bin.
do_install() {
    for tool in ${EDGE_TOOLS}; do
        directory=${bindir}
        if [ "$tool" = edge-generator ]; then
            directory=${nonarch_libdir}/systemd/system-generators
        fi
        install -D -m 0755 ${B}/target/${CARGO_TARGET_SUBDIR}/$tool ${D}$directory/$tool
        for unit in ${S}/crates/$tool/systemd/*; do
            [ ! -f "$unit" ] || install -D -m 0644 -t ${D}${systemd_system_unitdir} "$unit"
        done
        # Packaged in edge-tools-doc, which only the development image installs.
        install -D -m 0644 ${S}/docs/man/$tool.8 ${D}${mandir}/man8/$tool.8
    done
}

PACKAGE_BEFORE_PN = "${EDGE_TOOLS}"
SYSTEMD_PACKAGES = "${EDGE_TOOLS}"

# The package edge-tools itself is empty and depends on the others.
ALLOW_EMPTY:${PN} = "1"
RDEPENDS:${PN} = "${EDGE_TOOLS}"
RDEPENDS:edge-partition = "\
    e2fsprogs \
    e2fsprogs-e2fsck \
    e2fsprogs-mke2fs \
    e2fsprogs-resize2fs \
    e2fsprogs-tune2fs \
    util-linux-blkid \
"
RDEPENDS:edge-docker = "chronyc docker networkmanager-nmcli nftables"
RDEPENDS:edge-heartbeat = "nvme-cli"
RDEPENDS:edge-os = "edge-rauc rauc tegra-redundant-boot-base"
RDEPENDS:edge-provision = "ca-certificates"
RDEPENDS:edge-vpn = "iproute2-ip wireguard-tools"
# Absent where the kernel has it built in.
RRECOMMENDS:edge-os = "kernel-module-nbd"

# externalsrc.bbclass hashes every file below the checkout, its build directory
# included, where bitbake runs inside of it: the hash of an unchanged source would differ
# at each build.
# nooelint: oelint.task.noanonpython
python () {
    import edge.sources
    files = edge.sources.files(d.getVar('EXTERNALSRC'), d.getVar('EDGE_TOOLS').split())
    d.setVarFlag('do_compile', 'file-checksums', ' '.join(f + ':True' for f in files))
    d.setVarFlag('do_configure', 'file-checksums', '')
    # do_install copies them.
    units = edge.sources.installed(d.getVar('EXTERNALSRC'), d.getVar('EDGE_TOOLS').split())
    d.setVarFlag('do_install', 'file-checksums', ' '.join(f + ':True' for f in units))
    # Neither the place of the checkout nor that of the build is part of a hash.
    for name in ('B', 'EXTERNALSRC', 'EXTERNALSRC_BUILD', 'S'):
        d.setVarFlag(name, 'vardepvalue', name)
}

# Files and units of each package are read from the source directories, so that no
# list can miss one.
# nooelint: oelint.task.noanonpython
python () {
    tools = d.getVar('EDGE_TOOLS').split()
    crates = os.path.join(d.getVar('EXTERNALSRC'), 'crates')
    directories = {c: os.path.join(crates, c, 'systemd') for c in sorted(os.listdir(crates))}
    unitdir = d.getVar('systemd_system_unitdir')
    for crate, directory in directories.items():
        if not os.path.isdir(directory):
            continue
        bb.parse.mark_dependency(d, directory)
        if crate not in tools:
            bb.fatal('%s has units but is not in EDGE_TOOLS' % directory)
    for tool in tools:
        directory = directories.get(tool)
        units = sorted(os.listdir(directory)) if directory and os.path.isdir(directory) else []
        d.setVar('SUMMARY:' + tool, 'Edge AI: %s' % tool)
        where = ['${bindir}/' + tool, '${nonarch_libdir}/systemd/system-generators/' + tool]
        d.setVar('FILES:' + tool, ' '.join(where + [unitdir + '/' + u for u in units]))
        enabled = []
        for unit in units:
            bb.parse.mark_dependency(d, os.path.join(directory, unit))
            with open(os.path.join(directory, unit)) as text:
                if '[Install]' in text.read():
                    enabled.append(unit)
        d.setVar('SYSTEMD_SERVICE:' + tool, ' '.join(enabled))
}
