FILESEXTRAPATHS:prepend:edge := "${THISDIR}/files:"

SRC_URI:append:edge = " file://containers.cfg \
                        file://hardening.cfg \
                        file://pstore.cfg \
                        file://quota.cfg \
                        file://r8169.cfg \
                        file://vpn.cfg \
                        "
