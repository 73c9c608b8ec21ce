"""What the layer's classes compute; plain Python, tested without a build."""

BBIMPORTS = ["keys"]
