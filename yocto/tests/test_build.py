"""Tests of what a build depends on, and of the layer's changes to other layers."""

import json
import os
import re
import subprocess
import tempfile
import unittest

from test_layer import LAYER, sources

REPOSITORY = os.path.dirname(os.path.dirname(LAYER))
RECIPE = os.path.join(LAYER, "recipes-edge/edge-tools/edge-tools_0.1.0.bb")


def read(path):
    with open(os.path.join(LAYER, path), encoding="utf-8") as file:
        return file.read()


def tools():
    return re.search(r'^EDGE_TOOLS = "(.*)"$', read(RECIPE), re.MULTILINE).group(1).split()


class Sources(unittest.TestCase):
    def test_the_crates_are_those_that_cargo_links(self):
        command = ["cargo", "metadata", "--no-deps", "--offline", "--format-version", "1"]
        output = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True).stdout
        packages = {p["name"]: p for p in json.loads(output)["packages"]}
        linked, open_ = set(), tools()
        while open_:
            name = open_.pop()
            if name in packages and name not in linked:
                linked.add(name)
                open_ += [d["name"] for d in packages[name]["dependencies"] if d["kind"] != "dev"]
        self.assertEqual(sources.crates(REPOSITORY, tools()), linked)
        self.assertIn("edge-common", linked)
        self.assertNotIn("edge-app", linked)

    def test_manifests_of_the_whole_workspace_and_sources_of_what_is_linked(self):
        found = {os.path.relpath(f, REPOSITORY) for f in sources.files(REPOSITORY, tools())}
        for name in ("Cargo.lock", "Cargo.toml", "crates/edge-common/src", "crates/edge-app/Cargo.toml", "xtask/Cargo.toml"):
            self.assertIn(name, found)
        for name in found:
            self.assertNotRegex(name, "tests|docs|^build|target|crates/edge-app/src|systemd")

    def test_no_source_includes_a_file_that_is_not_hashed(self):
        hashed = [f for f in sources.files(REPOSITORY, tools()) if os.path.isdir(f)]
        for directory in hashed:
            for place, _, names in os.walk(directory):
                for name in names:
                    with open(os.path.join(place, name), encoding="utf-8") as file:
                        # Tests are behind the last `mod tests`, and not in the image.
                        text = file.read().partition("#[cfg(test)]")[0]
                    for included in re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', text):
                        path = os.path.normpath(os.path.join(place, included))
                        self.assertTrue(any(path.startswith(d + "/") for d in hashed), path)

    def test_units_and_manual_pages_are_hashed_where_they_are_installed(self):
        found = sources.installed(REPOSITORY, tools())
        self.assertIn(os.path.join(REPOSITORY, "crates/edge-docker/systemd"), found)
        self.assertIn(os.path.join(REPOSITORY, "docs/man/edge-vpn.8"), found)

    def test_dependencies_in_every_form_are_found(self):
        with tempfile.TemporaryDirectory() as root:
            manifests = {
                "a": '[dependencies]\nb = { path = "../b" }\nc.workspace = true\n[dev-dependencies]\ntesting = "1"\n',
                "b": '[target."cfg(unix)".dependencies]\nd = "1"\n[build-dependencies]\ne = "1"\n',
                "c": "[dependencies.f]\nversion = '1'\n",
                **{name: "" for name in "def"},
                "testing": "",
            }
            for name, text in manifests.items():
                os.makedirs(os.path.join(root, "crates", name, "src"))
                with open(os.path.join(root, "crates", name, "Cargo.toml"), "w") as file:
                    file.write(text)
            self.assertEqual(sources.crates(root, ["a"]), set("abcdef"))


class Initramfs(unittest.TestCase):
    """The command of the append file with which init is changed."""

    INIT = 'mount "$1"\n[ $count -lt 5 ] || exec sh\n\nexec switch_root /mnt /sbin/init\n'

    def changed(self, text):
        append = read("recipes-core/initrdscripts/tegra-minimal-init_%.bbappend")
        body = re.search(r"do_install:append:edge\(\) \{\n(.*)^\}", append, re.MULTILINE | re.DOTALL).group(1)
        with tempfile.TemporaryDirectory() as directory:
            with open(os.path.join(directory, "init"), "w") as file:
                file.write(text)
            script = 'bbfatal() { echo "$1" >&2; exit 1; }\nD=%s\n%s' % (directory, body)
            run = subprocess.run(["sh", "-euc", script.replace("${D}", directory)], stderr=subprocess.PIPE, text=True)
            with open(os.path.join(directory, "init")) as file:
                return run, file.read()

    def test_a_root_that_cannot_be_mounted_restarts_the_device(self):
        run, text = self.changed(self.INIT)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertNotIn("exec sh", text)
        self.assertRegex(text, "sleep 10; reboot -f")
        self.assertIn("exec switch_root", text)
        subprocess.run(["sh", "-n"], input=text, text=True, check=True)

    def test_an_init_that_opens_a_shell_elsewhere_stops_the_build(self):
        run, _ = self.changed("if true; then exec sh -i; fi\n")
        self.assertEqual(run.returncode, 1)
        self.assertIn("still opens a shell", run.stderr)


class SharedState(unittest.TestCase):
    def test_recipes_that_read_secrets_make_none(self):
        for recipe in ("edge-claim/edge-claim_1.0.bb", "edge-network/edge-network_1.0.bb"):
            self.assertIn('SSTATE_SKIP_CREATION = "1"', read("recipes-edge/" + recipe), recipe)
        self.assertIn('SSTATE_SKIP_CREATION:pn-optee-os-tadevkit = "1"', read("classes/edge_secure_boot.bbclass"))

    def test_every_recipe_of_op_tee_that_signs_applications_gets_the_key(self):
        text = read("classes/edge_secure_boot.bbclass")
        for recipe in ("optee-os", "optee-os-tadevkit", "optee-nvsamples", "optee-test"):
            self.assertIn('EXTRA_OEMAKE:append:pn-%s = " TA_SIGN_KEY=${EDGE_TA_SIGN_KEY}"' % recipe, text)


if __name__ == "__main__":
    unittest.main()
