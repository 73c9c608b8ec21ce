FILESEXTRAPATHS:prepend:edge := "${THISDIR}/files:"

PACKAGECONFIG[nts] = ",--disable-nts,gnutls nettle"

# configure drops NTS without an error if a library is missing.
do_configure:append:edge() {
    if ! grep -q '^#define FEAT_NTS' ${S}/config.h; then
        bbfatal "chrony would be built without NTS, which chrony.conf asks for"
    fi
}

# The user of chronyd keeps the drift and the cookies of NTS there.
do_install:append:edge() {
    echo "d ${localstatedir}/lib/chrony 0750 chronyd chronyd -" >${D}${sysconfdir}/tmpfiles.d/chronyd.conf
}
