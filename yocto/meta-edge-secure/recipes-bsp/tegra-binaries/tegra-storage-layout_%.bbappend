# The data partition is the last of the disk and takes the remaining space. An
# unexpected layout stops the build.
FILESEXTRAPATHS:prepend:edge := "${THISDIR}/files:"

SRC_URI:append:edge = " file://edge-layout.py"

do_compile:append:edge() {
    python3 ${WORKDIR}/edge-layout.py external-flash.xml
}
