"""Functions of the layer's classes, in plain Python that is tested without a build."""

BBIMPORTS = ["anchors", "keys", "release", "sources", "times"]
