SUMMARY = "Packages of an Edge AI image"
DESCRIPTION = "Device programs, claim, policy, data partition, user, network, \
clock and container engine."
HOMEPAGE = "https://example.com/edge-ai"
LICENSE = "MIT"

inherit packagegroup

RDEPENDS:${PN} = "\
    chrony \
    docker \
    edge-claim \
    edge-data \
    edge-network \
    edge-policy \
    edge-system \
    edge-tools \
    edge-user \
    kernel-modules \
    openssh-sshd \
    sudo \
"
