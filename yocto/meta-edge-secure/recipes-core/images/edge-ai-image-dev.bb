SUMMARY = "Edge AI image for the desk"
DESCRIPTION = "The image for the field with tools to look around, and root on \
the serial console without a password. With EDGE_SANDBOX = 1 it runs unsigned \
containers called sandbox/*."

require edge-ai-image.inc

# This is what the desk is for; production is another image, which refuses them.
# nooelint: oelint.var.badimagefeature.allow-empty-password,oelint.var.badimagefeature.empty-root-password,oelint.var.badimagefeature.tools-debug
IMAGE_FEATURES += "allow-empty-password empty-root-password package-management tools-debug"
IMAGE_INSTALL:append = " bash chronyc curl htop i2c-tools jq strace tcpdump usbutils"
