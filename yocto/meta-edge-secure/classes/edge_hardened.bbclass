# Image for the field: stops the build if it contains development features.

EDGE_REFUSED_FEATURES = "allow-empty-password allow-root-login dbg-pkgs debug-tweaks dev-pkgs \
    empty-root-password package-management post-install-logging serial-autologin-root tools-debug \
    tools-profile tools-sdk tools-testapps"
# Programs of the earlier image that nothing needs any more, and programs that
# circumvent the policy.
EDGE_REFUSED_PROGRAMS = "cosign curl gcc jq mosquitto_pub mosquitto_sub opkg python3 socat"

python edge_refuse_features () {
    refused = set(d.getVar('EDGE_REFUSED_FEATURES').split())
    found = sorted(refused & set(d.getVar('IMAGE_FEATURES').split()))
    if found:
        bb.fatal('an image for the field must not have these features: ' + ' '.join(found))
    if d.getVar('EDGE_SANDBOX') == '1':
        bb.fatal('an image for the field runs signed containers only: set EDGE_SANDBOX to 0')
    if d.getVar('EDGE_ENGINEER') == 'debug':
        bb.fatal('an image for the field must not let engineers run programs of their choice: '
                 'set EDGE_ENGINEER to operate or look')
    if d.getVar('EDGE_RUN') == 'any':
        bb.warn('EDGE_RUN is any: containers run with options that nobody has signed')
}
do_rootfs[prefuncs] += "edge_refuse_features"

edge_refuse_programs () {
    for program in ${EDGE_REFUSED_PROGRAMS}; do
        for directory in ${bindir} ${sbindir}; do
            if [ -e ${IMAGE_ROOTFS}$directory/$program ]; then
                bbfatal "an image for the field must not contain $directory/$program"
            fi
        done
    done
    if grep -Eq '^[^:]+:(:|[^*!x:])' ${IMAGE_ROOTFS}${sysconfdir}/shadow; then
        bbfatal "an image for the field must not contain passwords"
    fi
}

# The image itself, whatever recipe brought a key.
python edge_refuse_anchors () {
    import edge.anchors
    directory = d.getVar('IMAGE_ROOTFS') + d.getVar('sysconfdir') + '/edge-ai/container-config'
    problems = edge.anchors.problems(directory)
    if problems:
        bb.fatal('trust anchors of the image:\n  ' + '\n  '.join(problems))
}

# By this time a device knows that a ticket has expired, whatever its clock says.
python edge_refuse_time () {
    import edge.times
    problem = edge.times.problem(d.getVar('IMAGE_ROOTFS') + d.getVar('sysconfdir') + '/timestamp')
    if problem:
        bb.fatal(problem)
}
# Last, because rootfs-postcommands.bbclass removes root's empty password in an
# earlier command.
ROOTFS_POSTPROCESS_COMMAND:append = " edge_refuse_programs edge_refuse_anchors edge_refuse_time"
