SUMMARY = "Edge AI image for devices in the field"
DESCRIPTION = "Read-only root, no password, keys only for the user edge and \
one sudo rule, no package manager, no compiler, signed containers only."

require edge-ai-image.inc

inherit edge_hardened
