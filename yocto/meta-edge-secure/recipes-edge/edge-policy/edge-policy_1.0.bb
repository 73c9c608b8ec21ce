SUMMARY = "Trust anchors and policy of an Edge AI device"
DESCRIPTION = "Signing keys and the trusted repository from the directory \
EDGE_POLICY_DIR outside the repository; policy, VPN, the board's grants, the CA \
bundle, and the configuration of the engine, sudo and sshd."
HOMEPAGE = "https://example.com/edge-ai"
SECTION = "base"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

SRC_URI = "file://ca \
           file://containerd-engine.conf \
           file://containerd.toml \
           file://daemon.json \
           file://devices.json \
           file://docker-data.conf \
           file://loopback.nft \
           file://seccomp.json \
           file://sshd-edge.conf \
           file://sudoers-edge \
           file://vpn.json \
           "

S = "${WORKDIR}"

EDGE_POLICY_DIR ??= ""
# 1: sandbox images may run, in `edge-ai-image-dev` only.
EDGE_SANDBOX ??= "0"
# any: SSH over any interface; vpn: over the VPN only (docs/vpn.md).
EDGE_SSH ??= "any"
# none, or local: engineers may forward TCP ports of their laptops to the device.
EDGE_FORWARDING ??= "none"
# signed: containers run exactly as their apps were signed; any: also with options
# that somebody types.
EDGE_RUN ??= "signed"
# look, operate or debug: commands of edge-docker that engineers may give.
EDGE_ENGINEER ??= "operate"
# background: image layers are checked after each boot, while apps run; before-start:
# before the engine starts, which then waits.
EDGE_LAYERS ??= "background"
# Limit of what an app stores that states none: a share of /data or a size, such as 8g.
EDGE_STORAGE ??= "80%"
# Number of different keys of set-signing*.pub that must have signed a release set.
EDGE_SET_THRESHOLD ??= "2"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

python edge_check_anchors () {
    import edge.anchors
    directory = d.getVar('EDGE_POLICY_DIR')
    # do_install names a directory that is absent.
    if directory and os.path.isdir(directory):
        problems = edge.anchors.problems(directory)
        if problems:
            bb.fatal('EDGE_POLICY_DIR: %s\n  %s' % (directory, '\n  '.join(problems)))
}
do_install[prefuncs] += "edge_check_anchors"

do_install() {
    if [ -z "${EDGE_POLICY_DIR}" ]; then
        bbfatal "EDGE_POLICY_DIR is not set: name the directory with container-signing*.pub, ecr-url.txt and, for tickets, engineer-signing*.pub, for release sets set-signing*.pub"
    fi
    if [ ! -s "${EDGE_POLICY_DIR}/ecr-url.txt" ]; then
        bbfatal "EDGE_POLICY_DIR: ${EDGE_POLICY_DIR}/ecr-url.txt is missing or empty"
    fi
    trust=${D}${sysconfdir}/edge-ai/container-config
    install -d $trust
    install -m 0644 ${EDGE_POLICY_DIR}/ecr-url.txt $trust/ecr-url.txt
    keys=0
    for key in ${EDGE_POLICY_DIR}/container-signing*.pub; do
        [ -s "$key" ] || continue
        install -m 0644 "$key" $trust/
        keys=1
    done
    if [ $keys = 0 ]; then
        bbfatal "EDGE_POLICY_DIR: ${EDGE_POLICY_DIR} contains no container-signing*.pub"
    fi
    # None: the image takes no break-glass tickets.
    for key in ${EDGE_POLICY_DIR}/engineer-signing*.pub; do
        [ ! -e "$key" ] || install -m 0644 "$key" $trust/
    done
    threshold="${EDGE_SET_THRESHOLD}"
    case "${threshold:=2}" in
        [1-9]|1[0-6]) ;;
        *) bbfatal "EDGE_SET_THRESHOLD is not 1 to 16: $threshold" ;;
    esac
    # None: the image takes no release sets.
    keys=0
    for key in ${EDGE_POLICY_DIR}/set-signing*.pub; do
        [ -s "$key" ] || continue
        install -m 0644 "$key" $trust/
        keys=$(expr $keys + 1)
    done
    if [ $keys != 0 ] && [ $keys -lt $threshold ]; then
        bbfatal "EDGE_SET_THRESHOLD is $threshold, but EDGE_POLICY_DIR has $keys set-signing*.pub: add a key, or set it to $keys"
    fi
    sets=", \"sets\": { \"threshold\": $threshold }"
    [ $threshold != 2 ] || sets=
    # None: the image takes no updates of its operating system.
    for key in ${EDGE_POLICY_DIR}/os-signing*.pub; do
        [ ! -e "$key" ] || install -m 0644 "$key" $trust/
    done
    sandbox=false
    [ "${EDGE_SANDBOX}" != 1 ] || sandbox=true
    ssh="${EDGE_SSH}"
    case "${ssh:=any}" in
        any|vpn) ;;
        *) bbfatal "EDGE_SSH is neither any nor vpn: $ssh" ;;
    esac
    case "${EDGE_FORWARDING}" in
        none|"") forwarding=no ;;
        local) forwarding=local ;;
        *) bbfatal "EDGE_FORWARDING is neither none nor local: ${EDGE_FORWARDING}" ;;
    esac
    run="${EDGE_RUN}"
    case "${run:=signed}" in
        signed|any) ;;
        *) bbfatal "EDGE_RUN is neither signed nor any: $run" ;;
    esac
    engineer="${EDGE_ENGINEER}"
    case "${engineer:=operate}" in
        look|operate|debug) ;;
        *) bbfatal "EDGE_ENGINEER is not look, operate or debug: $engineer" ;;
    esac
    layers="${EDGE_LAYERS}"
    case "${layers:=background}" in
        background) layers= ;;
        before-start) layers=', "layers": "before-start"' ;;
        *) bbfatal "EDGE_LAYERS is neither background nor before-start: $layers" ;;
    esac
    storage="${EDGE_STORAGE}"
    : "${storage:=80%}"
    if ! printf '%s\n' "$storage" | grep -qxE '([1-9][0-9]?|100)%|[1-9][0-9]{0,11}[kmgt]?'; then
        bbfatal "EDGE_STORAGE is neither a share such as 80% nor a size such as 8g: $storage"
    fi
    case "$storage" in
        80%) storage= ;;
        *) storage=", \"storage\": \"$storage\"" ;;
    esac
    printf '{ "sandbox": %s, "ssh": "%s", "run": "%s", "engineer": "%s"%s%s%s }\n' \
        $sandbox $ssh $run $engineer "$layers" "$storage" "$sets" >${WORKDIR}/policy.json
    install -m 0644 ${WORKDIR}/policy.json $trust/policy.json
    # Where a device requests credentials to pull images; absent without a cloud.
    if [ -s "${EDGE_POLICY_DIR}/fleet.json" ]; then
        install -D -m 0644 ${EDGE_POLICY_DIR}/fleet.json ${D}${sysconfdir}/edge-ai/fleet.json
    fi
    vpn=${WORKDIR}/vpn.json
    [ ! -s "${EDGE_POLICY_DIR}/vpn.json" ] || vpn=${EDGE_POLICY_DIR}/vpn.json
    install -D -m 0644 $vpn ${D}${sysconfdir}/edge-ai/vpn.json

    install -D -m 0644 ${WORKDIR}/devices.json ${D}${sysconfdir}/edge-ai/devices.json
    install -d ${D}${sysconfdir}/edge-ai/ca
    install -m 0644 ${WORKDIR}/ca/*.pem ${D}${sysconfdir}/edge-ai/ca/
    install -D -m 0644 ${WORKDIR}/containerd.toml ${D}${sysconfdir}/containerd/config.toml
    install -D -m 0644 ${WORKDIR}/daemon.json ${D}${sysconfdir}/docker/daemon.json
    install -m 0644 ${WORKDIR}/seccomp.json ${D}${sysconfdir}/docker/seccomp.json
    install -D -m 0644 ${WORKDIR}/docker-data.conf ${D}${systemd_system_unitdir}/docker.service.d/edge.conf
    install -D -m 0644 ${WORKDIR}/containerd-engine.conf \
        ${D}${systemd_system_unitdir}/containerd.service.d/edge.conf
    install -D -m 0644 ${WORKDIR}/loopback.nft ${D}${sysconfdir}/edge-ai/loopback.nft
    install -D -m 0440 ${WORKDIR}/sudoers-edge ${D}${sysconfdir}/sudoers.d/edge
    sed "s/^AllowTcpForwarding .*/AllowTcpForwarding $forwarding/" \
        ${WORKDIR}/sshd-edge.conf >${WORKDIR}/sshd.conf
    install -D -m 0644 ${WORKDIR}/sshd.conf ${D}${sysconfdir}/ssh/sshd_config.d/edge.conf
}
# A change of the keys rebuilds the package.
do_install[file-checksums] += "${@d.getVar('EDGE_POLICY_DIR') + '/*:True' if d.getVar('EDGE_POLICY_DIR') else ''}"

FILES:${PN} += "${systemd_system_unitdir}"

RDEPENDS:${PN} = "docker nftables openssh-sshd sudo"
