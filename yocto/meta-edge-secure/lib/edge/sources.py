"""Source files of the device programs: what a rebuild depends on, and nothing else."""

import os
import re

# Files of the repository's root that cargo reads.
ROOT = ("Cargo.lock", "Cargo.toml", ".cargo/config.toml")


def files(root, tools):
    """Returns the files and directories that cargo reads to build `tools`, absolute.

    These are the root's manifests, the sources of each tool and of the crates of this
    repository that it links, and the manifests of all other crates, which cargo reads
    for the workspace. Tests, documents and build directories are not among them.
    """
    found = [os.path.join(root, name) for name in ROOT]
    linked = crates(root, tools)
    for directory in members(root):
        found.append(os.path.join(directory, "Cargo.toml"))
        if os.path.basename(directory) in linked:
            found += [os.path.join(directory, name) for name in ("build.rs", "src")]
    return [path for path in found if os.path.exists(path)]


def installed(root, tools):
    """Returns the files and directories that the recipe installs as they are, absolute."""
    found = [os.path.join(root, "crates", tool, "systemd") for tool in tools]
    found += [os.path.join(root, "docs/man", tool + ".8") for tool in tools]
    return [path for path in found if os.path.exists(path)]


def members(root):
    """Returns the directories of the workspace's crates, absolute and sorted."""
    places = [os.path.join(root, "crates", name) for name in sorted(os.listdir(os.path.join(root, "crates")))]
    places.append(os.path.join(root, "xtask"))
    return [place for place in places if os.path.exists(os.path.join(place, "Cargo.toml"))]


def crates(root, tools):
    """Returns the names of `tools` and of all crates of this repository that they link."""
    found, open_ = set(), list(tools)
    while open_:
        name = open_.pop()
        manifest = os.path.join(root, "crates", name, "Cargo.toml")
        if name in found or not os.path.exists(manifest):
            continue
        found.add(name)
        with open(manifest, encoding="utf-8") as file:
            open_ += _dependencies(file.read())
    return found


def _dependencies(manifest):
    """Returns the names in [dependencies], with every target, without those of tests."""
    names, inside = [], False
    for line in manifest.splitlines():
        section = re.fullmatch(r"\[(.+)\]", line.strip())
        if section:
            inside = section.group(1).endswith("dependencies") and not section.group(1).endswith("dev-dependencies")
            table = re.fullmatch(r"dependencies\.([\w-]+)", section.group(1))
            if table:
                names.append(table.group(1))
        elif inside:
            key = re.match(r"([\w-]+)\s*[.=]", line)
            if key:
                names.append(key.group(1))
    return names
