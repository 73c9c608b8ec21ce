"""Tests of edge-layout.py with layouts in the shape of NVIDIA's files for L4T r36, in
which most partitions have no id."""

import os
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ET

from test_layer import LAYER, LAYOUT, layout

MIB = 1 << 20
TABLES = ("protective_master_boot_record", "primary_gpt", "secondary_gpt")
# Name, type and size of the partitions between the kernel and the reserved space.
MIDDLE = [
    ("A_kernel", "kernel", 128 * MIB),
    ("A_kernel-dtb", "kernel_dtb", 768 * 1024),
    ("A_reserved_on_user", "data", 33161216),
    ("B_kernel", "kernel", 128 * MIB),
    ("B_kernel-dtb", "kernel_dtb", 768 * 1024),
    ("B_reserved_on_user", "data", 33161216),
    ("recovery", "kernel", 80 * MIB),
    ("recovery-dtb", "kernel_dtb", 512 * 1024),
    ("esp", "data", 64 * MIB),
    ("recovery_alt", "kernel", 80 * MIB),
    ("recovery-dtb_alt", "kernel_dtb", 512 * 1024),
    ("esp_alt", "data", 64 * MIB),
    ("UDA", "data", 400 * MIB),
    ("reserved", "data", 502792192),
]


def partition(name, kind, size, attribute="8", number=None):
    identity = "" if number is None else ' id="%s"' % number
    return (
        '<partition name="%s"%s type="%s"><allocation_policy> sequential </allocation_policy>'
        "<filesystem_type> basic </filesystem_type><size> %s </size>"
        "<file_system_attribute> 0 </file_system_attribute>"
        "<allocation_attribute> %s </allocation_attribute>"
        "<percent_reserved> 0 </percent_reserved></partition>"
    ) % (name, identity, kind, size, attribute)


def vendor(roots, kernel):
    """Returns a layout with A_kernel at id `kernel` and `roots` (name, id, attribute)."""
    lines = [
        '<?xml version="1.0"?><partition_layout version="01.00.0000">',
        '<device type="external" instance="0" sector_size="512" num_sectors="EXT_NUM_SECTORS">',
        partition("master_boot_record", TABLES[0], 512),
        partition("primary_gpt", TABLES[1], 19968),
    ]
    for name, kind, size in MIDDLE:
        lines.append(partition(name, kind, size, number=kernel if name == "A_kernel" else None))
    for name, number, attribute in roots:
        lines.append(partition(name, "data", "APPSIZE", attribute, number))
    lines += [partition("secondary_gpt", TABLES[2], "0xFFFFFFFFFFFFFFFF"), "</device></partition_layout>"]
    return "\n".join(lines)


ONE_SLOT = vendor([("APP", 1, "0x808")], 2)
TWO_SLOTS = vendor([("APP", 1, "0x8"), ("APP_b", 2, "0x8")], 3)


def numbered(text):
    """Returns (number, name, fills the disk) by the documented rule of meta-tegra: the
    id of a partition, or the number after that of the partition before it. Partition
    tables have no number, and attributes are hexadecimal."""
    found, following = [], 1
    for node in ET.fromstring(text.partition("?>")[2]).iter("partition"):
        if node.get("type") in TABLES:
            continue
        number = int(node.get("id", following))
        following = number + 1
        found.append((number, node.get("name"), bool(int(node.findtext("allocation_attribute").strip(), 16) & 0x800)))
    return found


class VendorLayouts(unittest.TestCase):
    def test_data_has_a_free_number_and_is_the_last_partition(self):
        for text, number in [(ONE_SLOT, 16), (TWO_SLOTS, 17)]:
            with self.subTest(number=number):
                before, after = numbered(text), numbered(layout.with_data(text))
                self.assertEqual(after[-1], (number, "DATA", True))
                numbers = [n for n, _, _ in after]
                self.assertEqual(sorted(numbers), list(range(1, number + 1)))
                self.assertEqual([p[:2] for p in after[:-1]], [p[:2] for p in before])
                self.assertEqual([name for _, name, fills in after if fills], ["DATA"])

    def test_nothing_else_of_the_layout_changes(self):
        for text in [ONE_SLOT, TWO_SLOTS]:
            before = list(ET.fromstring(text.partition("?>")[2]).iter("partition"))
            after = list(ET.fromstring(layout.with_data(text).partition("?>")[2]).iter("partition"))
            names = [p.get("name") for p in after]
            self.assertEqual(names.pop(-2), "DATA")
            self.assertEqual(names, [p.get("name") for p in before])
            sizes = [p.findtext("size").strip() for p in after if p.get("name") != "DATA"]
            self.assertEqual(sizes, [p.findtext("size").strip() for p in before])

    def test_attributes_are_hexadecimal_without_a_prefix(self):
        for filling in ["808", "0x808", "0x800", "0X808"]:
            after = numbered(layout.with_data(ONE_SLOT.replace("0x808", filling)))
            self.assertEqual([name for _, name, fills in after if fills], ["DATA"], filling)

    def test_an_attribute_may_be_absent(self):
        text = TWO_SLOTS.replace("<allocation_attribute> 0x8 </allocation_attribute>", "")
        self.assertIn('name="DATA" id="17"', layout.with_data(text))

    def test_two_filling_partitions_are_refused(self):
        text = ONE_SLOT.replace("<allocation_attribute> 8 <", "<allocation_attribute> 808 <", 3)
        with self.assertRaisesRegex(ValueError, "A_kernel fills the disk too"):
            layout.with_data(text)

    def test_numbers_that_cannot_be_flashed_are_refused(self):
        cases = {
            "A_kernel and APP are both partition 1": vendor([("APP", 1, "0x808")], 1),
            "B_kernel and APP are both partition 5": vendor([("APP", 5, "0x808")], 2),
            "reserved and APP_b are both partition 15": vendor([("APP", 1, "8"), ("APP_b", 15, "8")], 2),
            "id of APP: '0x1'": vendor([("APP", "0x1", "0x808")], 2),
            "id of APP: '-1'": vendor([("APP", "-1", "0x808")], 2),
            "id of APP: '0'": vendor([("APP", 0, "0x808")], 2),
            "id of APP: '999999'": vendor([("APP", 999999, "0x808")], 2),
            "partition 129 of at most 128": vendor([("APP", 128, "0x808")], 2),
        }
        for message, text in cases.items():
            with self.subTest(message), self.assertRaisesRegex(ValueError, message):
                layout.with_data(text)

    def test_the_program_writes_the_file_and_refuses_it_the_second_time(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "external-flash.xml")
            with open(path, "w") as file:
                file.write(TWO_SLOTS)
            command = [sys.executable, os.path.join(LAYER, LAYOUT), path]
            subprocess.run(command, check=True)
            with open(path) as file:
                written = file.read()
            self.assertEqual(numbered(written)[-1], (17, "DATA", True))
            again = subprocess.run(command, stderr=subprocess.PIPE, text=True)
            self.assertEqual(again.returncode, 1)
            self.assertIn("already has a partition DATA", again.stderr)


if __name__ == "__main__":
    unittest.main()
