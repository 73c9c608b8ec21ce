SUMMARY = "Edge AI image for devices in the field"
DESCRIPTION = "Read-only root, no passwords, SSH keys for the user edge alone, \
one sudo rule, no package manager, no compiler, signed containers only."

require edge-ai-image.inc

inherit edge_hardened
