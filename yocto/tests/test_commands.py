"""Commands of the documentation: each runs in a test, or a list says why it cannot.

A command is a line of a shell block, or a code span that begins with a program. What needs
neither a board nor a cloud is executed here; of the others, a test of the program is named.
"""

import json
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHELL = {"sh", "bash"}
DEVICE = "/dev/disk/by-partlabel/DATA"
PROGRAMS = (
    "aws blkid cargo cat chronyc curl dmesg du dumpe2fs e2fsck edge-app edge-docker edge-fleet"
    " edge-generator edge-heartbeat edge-partition edge-provision edge-vpn journalctl kas ls lsblk nvme openssl"
    " scripts/run-build ssh systemctl tar tune2fs wg"
).split()

# Executed here, with a file in the place of the partition.
HERE = [
    f"e2fsck -n {DEVICE}",
    f"dumpe2fs -h {DEVICE}",
    f"blkid -p {DEVICE}",
    "lsblk -o NAME,PARTLABEL",
    "du -xh -d2 /data | sort -h",
    "openssl pkey -pubin -in FILE.pub -outform DER | sha256sum",
    "openssl genrsa -out pkc.pem 3072",
    "openssl genrsa -out ta.pem 4096",
]

# Program of the repository: a file and a text in it, which show that a test runs it.
TESTED = {
    "edge-app": ("crates/edge-app/tests/documents.rs", "edge_app_takes_every_documented_line"),
    "edge-partition": ("crates/edge-partition/tests/partition.rs", "--check"),
    "edge-provision": ("crates/edge-provision/tests/unprivileged.rs", "status"),
    "edge-vpn": ("crates/edge-vpn/tests/command_line.rs", "status"),
    "edge-fleet": ("crates/edge-fleet/tests/program.rs", "status"),
    "edge-generator": ("crates/edge-generator/tests/generator/main.rs", "activate"),
    "edge-heartbeat": ("crates/edge-heartbeat/tests/heartbeat/main.rs", "once"),
    "scripts/run-build": ("infra/tests", "run-build"),
    "cargo": ("xtask/src/suite/mod.rs", "cargo"),
}

# Not executed: the reason for each program.
NOT_RUN = {
    "nvme": "needs a disk with NVMe",
    "dmesg": "needs the messages of the device's kernel",
    "cat": "reads a file that edge-vpn writes at boot",
    "ls": "reads the CA certificates of the image",
    "chronyc": "needs the device's time service",
    "curl": "needs a device in the reader's network",
    "wg": "needs a hub of the reader",
    "kas": "builds an image for hours",
    "aws": "needs an account; the quoting is executed with a program that records arguments",
    "ssh": "needs a device; the command behind it is looked up by itself",
    "systemctl": "needs the device's units, which are looked up by name",
    "journalctl": "needs the device's journal; its units are looked up by name",
}

# Lines of blocks that begin with another program.
OTHERS = {
    "git clone REPOSITORY edge-ai && cd edge-ai": "the reader has the repository",
    "scripts/setup": "CI calls it before every test",
    "scripts/demo": "CI",
    "scripts/test": "CI",
    "sudo apt install": "changes the reader's machine",
    "sudo localedef": "changes the reader's machine",
    "pipx install": "changes the reader's machine",
    "cd infra/iot && terraform init && terraform apply": "needs an account; cargo xtask infra"
    " validates and plans it",
    "cat keys/*.pub": "the reader's keys",
    "export EDGE_": "variables of a build",
    "oras push": "crates/edge-app/tests/other_tools.rs does the same without oras",
    "cosign sign": "crates/edge-app/tests/other_tools.rs does the same without cosign",
    "edge-docker note-ssh-key": "sshd calls it; crates/edge-docker/tests/ssh_callers.rs",
    "e2fsck -p": "crates/edge-partition/tests/repair.rs",
    "e2fsck -y": "crates/edge-partition/tests/repair.rs",
    "systemd-analyze critical-chain": "needs a device that has booted",
    "read -rs secret": "the secret of the reader; crates/edge-app/tests/home_assistant.rs",
    "cp ~/Downloads/": "a file of NordVPN's",
    "cd docs/examples": "see the lines after it",
}
# Pages whose blocks are executed as a whole.
FOLLOWED = {"docs/first-app.md": ("xtask/src/demo/first_app.rs", "first-app.md")}
# Units of the distribution that the pages name.
DISTRIBUTION = {"docker", "sshd", "systemd-pstore", "data.mount"}


def pages():
    generated = {"cli", "man", "decisions"}
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    return [p for p in found if not generated & set(p.relative_to(ROOT).parts)]


def blocks(page):
    """Returns the shell blocks of a page, each with its first line's number."""
    text = page.read_text()
    for match in re.finditer(r"^```(\w*)\n(.*?)^```", text, re.S | re.M):
        if match[1] in SHELL:
            yield text[: match.start()].count("\n") + 2, match[2]


def commands(block):
    """Returns the commands of a block, without comments and here-documents."""
    block = re.sub(r"<<'END'.*?^END$", "", block, flags=re.S | re.M).replace("\\\n", " ")
    block = re.sub(r"\|\n\s+", "| ", block)
    for line in block.splitlines():
        line = re.sub(r"\s+#\s.*", "", line).strip()
        if line and not line.startswith("#"):
            yield line


def spans(page):
    """Returns the commands that stand in sentences and tables."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)
    for span in re.findall(r"`([^`\n]+)`", text):
        for part in re.split(r";\s+", span.replace("\\|", "|")):
            program, _, rest = part.partition(" ")
            if program in PROGRAMS and rest:
                yield part


def docker_verb(line):
    """Returns the command of edge-docker in a line, if there is one."""
    match = re.search(r"\bedge-docker (system \w+|image \w+|container \w+|[a-z][a-z-]*)", line)
    return match and match[1]


def units(line):
    named = re.findall(r"-u (\S+)", line) if line.startswith("journalctl") else []
    if line.startswith("systemctl"):
        named = line.split()[2:]
    return [unit.removesuffix(".service") for unit in named]


class Commands(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def shell(self, script, path="/usr/sbin:/sbin:/usr/bin:/bin"):
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.directory,
            env={"PATH": path, "HOME": str(self.directory), "SERIAL": "1", "CERTIFICATE": "c"},
            capture_output=True,
            text=True,
            timeout=300,
        )

    def test_every_block_is_shell(self):
        count = 0
        for page in pages():
            for number, block in blocks(page):
                result = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
                self.assertEqual(result.stderr, "", f"{page}:{number}")
                count += 1
        self.assertGreater(count, 40)

    def test_every_command_is_run_or_has_a_reason(self):
        unknown, used = [], set()
        for page in pages():
            name = str(page.relative_to(ROOT))
            lines = [] if name in FOLLOWED else [c for _, b in blocks(page) for c in commands(b)]
            for line in [*lines, *spans(page)]:
                places = self.places(line)
                used.update(places)
                if not places:
                    unknown.append(f"{name}: {line}")
        self.assertEqual(unknown, [], "run these in a test, or say why not")
        stale = {*HERE, *NOT_RUN, *OTHERS} - used
        self.assertEqual(stale, set(), "no page names these any more")

    def places(self, line):
        """Returns the entries of the lists above by which a command is known."""
        program = line.split(" ")[0]
        found = [text for text in [*HERE, *OTHERS] if line.startswith(text)]
        verb = docker_verb(line)
        if verb:
            found += [f"edge-docker {verb}"] if self.is_tested(verb) else []
            return found + (["ssh"] if program == "ssh" else [])
        if program in NOT_RUN:
            known = all(self.is_unit(unit) for unit in units(line))
            found += [program] if known else []
        if program in TESTED:
            found.append(program)
        # Executed by a test of this class.
        if line.startswith(("printf %s", "hex=", "aws", "wg set")):
            found.append(program)
        return found

    def is_tested(self, verb):
        if not hasattr(Commands, "tests"):
            tests = (ROOT / "crates/edge-docker/tests").rglob("*")
            Commands.tests = "\n".join(t.read_text() for t in tests if t.suffix in {".rs", ".txt"})
        # All commands of its tables are executed by crates/edge-docker/tests/copy/page.rs.
        page = (ROOT / "docs/operations.md").read_text()
        rows = "\n".join(line for line in page.splitlines() if line.startswith("|"))
        if f"edge-docker {verb}" in rows:
            return True
        words = ", ".join(f'"{word}"' for word in verb.split())
        return words in re.sub(r",\s+", ", ", Commands.tests)

    def is_unit(self, unit):
        files = ROOT.glob(f"crates/*/systemd/{unit}.service")
        recipes = ROOT.glob(f"yocto/**/{unit}.service")
        return unit in DISTRIBUTION or any(files) or any(recipes)

    def test_the_named_tests_exist(self):
        for path, text in [*TESTED.values(), *FOLLOWED.values()]:
            place = ROOT / path
            files = [place] if place.is_file() else list(place.rglob("*.py"))
            self.assertTrue(any(text in f.read_text() for f in files), f"{path}: {text}")

    def test_commands_of_this_list_work(self):
        image = self.directory / "disk"
        made = self.shell(f"truncate -s 16M {image} && mkfs.ext4 -q -L data {image}")
        self.assertEqual(made.returncode, 0, made.stderr)
        self.shell("openssl ecparam -name prime256v1 -genkey -noout -out k && "
                   "openssl pkey -in k -pubout -out FILE.pub")
        for line in HERE:
            line = line.replace(DEVICE, str(image)).replace("/data", str(self.directory))
            result = self.shell(line)
            self.assertEqual(result.returncode, 0, f"{line}: {result.stderr}")
            self.assertTrue(result.stdout or "genrsa" in line, line)

    def test_calls_of_aws_are_quoted_well(self):
        """Runs the blocks with an `aws` that records its arguments."""
        record = self.directory / "arguments"
        stub = self.directory / "aws"
        stub.write_text(f"#!/bin/sh\nprintf '%s\\0' \"$@\" >>{record}\necho '{{}}'\n")
        stub.chmod(0o755)
        (self.directory / "wg").write_text("#!/bin/sh\n")
        (self.directory / "wg").chmod(0o755)
        (self.directory / "jq").write_text("#!/bin/sh\ncat\n")
        (self.directory / "jq").chmod(0o755)
        count = 0
        for page in pages():
            for number, block in blocks(page):
                if not re.search(r"^aws ", block, re.M):
                    continue
                record.unlink(missing_ok=True)
                block = block.replace("$EPOCH", "1")
                result = self.shell(block, f"{self.directory}:/usr/bin:/bin")
                self.assertEqual(result.returncode, 0, f"{page}:{number}: {result.stderr}")
                for argument in record.read_text().split("\0"):
                    if argument.startswith("{"):
                        json.loads(argument)
                count += 1
        self.assertGreater(count, 7)

    def test_the_recipe_for_other_tools_makes_the_document(self):
        page = ROOT / "docs/signatures.md"
        block = next(b for _, b in blocks(page) if b.startswith("printf"))
        head = "\n".join(block.splitlines()[:2])
        result = self.shell(f"{head}\necho $hex")
        self.assertRegex(result.stdout, r"^[0-9a-f]{64}$")
        document = (self.directory / "run.json").read_text()
        canonical = json.dumps(json.loads(document), sort_keys=True, separators=(",", ":"))
        self.assertEqual(document, canonical)


if __name__ == "__main__":
    assert shutil.which("bash")
    unittest.main()
