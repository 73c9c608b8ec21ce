SUMMARY = "Edge AI image for development"
DESCRIPTION = "The image for the field plus diagnostic tools and root on the \
serial console without a password. With EDGE_SANDBOX = 1 it runs unsigned \
containers named sandbox/*."

require edge-ai-image.inc

# Wanted for development; edge-ai-image refuses these features.
# nooelint: oelint.var.badimagefeature.allow-empty-password,oelint.var.badimagefeature.empty-root-password,oelint.var.badimagefeature.tools-debug
IMAGE_FEATURES += "allow-empty-password empty-root-password package-management tools-debug"
IMAGE_INSTALL:append = " bash chronyc curl edge-tools-doc htop i2c-tools jq man-db strace tcpdump usbutils"
