"""Adds a data partition to the partition layout of the external disk."""

import re
import sys
import xml.etree.ElementTree as ET

# Bit of the allocation attribute with which a partition fills the rest of the disk, and
# the attributes of a partition that does and of one that does not.
FILLS, FILL, FIXED = 0x800, 0x808, 0x8
# Minimum size of the data partition, in bytes; it grows, since it fills the disk.
SMALLEST = 1 << 30
# Number of entries in the partition table.
ENTRIES = 128
TABLES = ("protective_master_boot_record", "primary_gpt", "secondary_gpt")


def with_data(text):
    """Returns the layout with DATA as the last partition, filling the disk.

    APP, which filled the disk before, gets a fixed size; with two slots APP and APP_b
    have one already. Raises ValueError for an unknown layout, because a wrong guess
    would overwrite a disk.
    """
    try:
        root = ET.fromstring(text)
    except ET.ParseError as problem:
        raise ValueError("not XML: %s" % problem) from None
    devices = [d for d in root.iter("device") if d.get("type") in ("external", "nvme")]
    if len(devices) != 1:
        raise ValueError("%d external devices instead of one" % len(devices))
    device = devices[0]
    partitions = [p for p in device.findall("partition") if p.get("type") not in TABLES]
    if "DATA" in [p.get("name") for p in partitions]:
        raise ValueError("the layout already has a partition DATA")
    last = _last(partitions)
    number = max(_numbers(partitions)) + 1
    if number > ENTRIES:
        raise ValueError("DATA would be partition %d of at most %d" % (number, ENTRIES))
    device.insert(list(device).index(last) + 1, _data(number))
    ET.indent(root, "    ")
    return '<?xml version="1.0"?>\n%s\n' % ET.tostring(root, encoding="unicode")


def _last(partitions):
    """Returns the last partition, APP or APP_b, after giving it a fixed size."""
    name = partitions[-1].get("name") if partitions else "none"
    if name not in ("APP", "APP_b"):
        raise ValueError("the last partition is %s, not APP" % name)
    last = partitions[-1]
    filling = [p for p in partitions if _attribute(p) & FILLS]
    for partition in filling:
        if partition is not last:
            raise ValueError("%s fills the disk too" % partition.get("name"))
    two_slots = {"APP", "APP_b"} <= {p.get("name") for p in partitions}
    if filling:
        last.find("allocation_attribute").text = " 0x%x " % FIXED
    elif not two_slots:
        raise ValueError("%s does not fill the disk" % name)
    return last


def _numbers(partitions):
    """Returns the number of each partition, as meta-tegra's nvflashxmlparse counts.

    A partition without an id has the number after that of the partition before it in
    the file, so the highest number may belong to a partition without an id.
    """
    names = {}
    number = 0
    for partition in partitions:
        name = partition.get("name")
        text = partition.get("id", str(number + 1))
        number = int(text) if re.fullmatch("[0-9]+", text) else 0
        if not 0 < number <= ENTRIES:
            raise ValueError("id of %s: %r" % (name, text))
        if number in names:
            raise ValueError("%s and %s are both partition %d" % (names[number], name, number))
        names[number] = name
    return names


def _attribute(partition):
    """Returns the allocation attribute, which is hexadecimal with or without 0x."""
    text = partition.findtext("allocation_attribute", "0").strip()
    try:
        return int(text, 16)
    except ValueError:
        raise ValueError("allocation attribute of %s: %r" % (partition.get("name"), text)) from None


def _data(number):
    partition = ET.Element("partition", name="DATA", id=str(number), type="data")
    fields = [
        ("allocation_policy", "sequential"),
        ("filesystem_type", "basic"),
        ("size", str(SMALLEST)),
        ("file_system_attribute", "0"),
        ("allocation_attribute", "0x%x" % FILL),
        ("align_boundary", "1048576"),
        ("percent_reserved", "0"),
    ]
    for name, value in fields:
        ET.SubElement(partition, name).text = " %s " % value
    return partition


def main(path):
    with open(path, encoding="utf-8") as layout:
        text = layout.read()
    try:
        text = with_data(text)
    except ValueError as problem:
        sys.exit("%s: %s" % (path, problem))
    with open(path, "w", encoding="utf-8") as layout:
        layout.write(text)


if __name__ == "__main__":
    main(sys.argv[1])
