"""Adds a data partition to the partition layout of the external disk."""

import sys
import xml.etree.ElementTree as ET

# Allocation attributes of NVIDIA's layout: fill the rest of the disk, or not.
FILL, FIXED = 0x808, 0x8
# Minimum size of the data partition, in bytes; it grows, since it fills the disk.
SMALLEST = 1 << 30


def with_data(text):
    """Returns the layout with DATA as the last partition, filling the disk.

    APP, which filled the disk before, gets a fixed size. Raises ValueError for an
    unknown layout, because a wrong guess would overwrite a disk.
    """
    try:
        root = ET.fromstring(text)
    except ET.ParseError as problem:
        raise ValueError("not XML: %s" % problem) from None
    devices = [d for d in root.iter("device") if d.get("type") in ("external", "nvme")]
    if len(devices) != 1:
        raise ValueError("%d external devices instead of one" % len(devices))
    device = devices[0]
    partitions = device.findall("partition")
    if "DATA" in [p.get("name") for p in partitions]:
        raise ValueError("the layout already has a partition DATA")
    fill = _last(partitions)
    _fix(fill)
    ids = [int(p.get("id"), 0) for p in partitions if p.get("id")]
    number = max(ids, default=0) + 1
    device.insert(list(device).index(fill) + 1, _data(number))
    ET.indent(root, "    ")
    return '<?xml version="1.0"?>\n%s\n' % ET.tostring(root, encoding="unicode")


def _last(partitions):
    """Returns the partition that fills the disk now: APP, or APP_b with two slots."""
    tables = ("protective_master_boot_record", "primary_gpt", "secondary_gpt")
    data = [p for p in partitions if p.get("type") not in tables]
    if not data or data[-1].get("name") not in ("APP", "APP_b"):
        name = data[-1].get("name") if data else "none"
        raise ValueError("the last partition is %s, not APP" % name)
    for partition in data[:-1]:
        if _attribute(partition) & FILL == FILL:
            raise ValueError("%s fills the disk too" % partition.get("name"))
    return data[-1]


def _attribute(partition):
    text = partition.findtext("allocation_attribute")
    try:
        return int(text.strip(), 0)
    except (AttributeError, ValueError):
        raise ValueError("allocation attribute of %s: %r" % (partition.get("name"), text)) from None


def _fix(partition):
    if _attribute(partition) != FILL:
        raise ValueError("%s does not fill the disk" % partition.get("name"))
    partition.find("allocation_attribute").text = " 0x%x " % FIXED


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
