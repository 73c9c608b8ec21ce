"""Configuration of RAUC: what edge-os relies on, and no trust anchor of anybody else."""

import configparser
import os
import re
import unittest

from test_layer import LAYER

RECIPES = os.path.join(LAYER, "recipes-edge/edge-rauc")
REPOSITORY = os.path.dirname(os.path.dirname(LAYER))


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


def contract(name):
    """Returns a path that edge-os and others share."""
    text = read(REPOSITORY, "crates/edge-common/src/contract.rs")
    return re.search(r'const %s: &str = "([^"]*)"' % name, text).group(1)


class Configuration(unittest.TestCase):
    def setUp(self):
        self.config = configparser.ConfigParser()
        self.config.read_string(read(RECIPES, "files/system.conf"))

    def test_edge_os_decides(self):
        system = self.config["system"]
        self.assertEqual(system["bootloader"], "noop")
        self.assertEqual(system["activate-installed"], "false")
        self.assertEqual(system["bundle-formats"], "verity")
        self.assertEqual(system["data-directory"], contract("OS_RAUC_DATA"))
        self.assertTrue(system["mountprefix"].startswith("/run/"))

    def test_the_only_anchors_are_the_os_keys(self):
        keyring = self.config["keyring"]
        self.assertEqual(keyring["path"], contract("OS_KEYRING"))
        self.assertEqual(keyring["check-purpose"], "codesign")
        self.assertEqual(set(keyring), {"path", "check-purpose", "use-bundle-signing-time"})
        distro = read(LAYER, "conf/distro/edge.conf")
        self.assertIn('PREFERRED_RPROVIDER_virtual-rauc-conf = "edge-rauc"', distro)
        self.assertIn("virtual-rauc-conf", read(RECIPES, "edge-rauc_1.0.bb"))
        self.assertNotIn("ca.cert", read(RECIPES, "edge-rauc_1.0.bb"))

    def test_slots_are_the_partitions_that_edge_os_knows(self):
        slots = {s: self.config[s] for s in self.config if s.startswith("slot.")}
        self.assertEqual(
            {s["bootname"]: s["device"] for s in slots.values()},
            {"A": "/dev/disk/by-partlabel/APP", "B": "/dev/disk/by-partlabel/APP_b"})
        names = read(REPOSITORY, "crates/edge-os/src/slot.rs")
        self.assertIn('"APP"', names)
        self.assertIn('"APP_b"', names)

    def test_no_service_confirms_a_start_before_the_gate(self):
        append = read(LAYER, "recipes-core/rauc/rauc_1.15.2.bbappend")
        self.assertRegex(append, r'RRECOMMENDS:\$\{PN\}:remove:edge = "[^"]*\$\{PN\}-mark-good')
        self.assertNotRegex(append, r'PACKAGECONFIG:edge = "[^"]*service')

    def test_the_bundle_is_what_edge_app_signs(self):
        bundle = read(LAYER, "recipes-core/bundles/edge-ai-bundle_1.0.bb")
        for line in ['RAUC_BUNDLE_FORMAT = "verity"', 'RAUC_SLOT_rootfs[adaptive] = "block-hash-index"', 'RAUC_BUNDLE_COMPATIBLE = "${MACHINE}"', 'RAUC_BUNDLE_VERSION = "${EDGE_OS_VERSION}"']:
            self.assertIn(line, bundle)
        self.assertIn('compatible=@MACHINE@', read(RECIPES, "files/system.conf"))


if __name__ == "__main__":
    unittest.main()
