"""Documentation pages: links lead somewhere, and lists are complete."""

import os
import re
import subprocess
import unittest

REPOSITORY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*?) *$", re.M)
CODE = re.compile(r"^```.*?^```", re.M | re.S)


def read(path):
    with open(os.path.join(REPOSITORY, path), encoding="utf-8") as file:
        return file.read()


def pages():
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.md"],
        cwd=REPOSITORY, check=True, capture_output=True, text=True)
    return [p for p in listed.stdout.splitlines() if os.path.exists(os.path.join(REPOSITORY, p))]


def anchors(text):
    """Anchors of the headings, as GitHub makes them."""
    headings = HEADING.findall(CODE.sub("", text))
    plain = (re.sub(r"[^\w\- ]", "", h.lower()) for h in headings)
    return {h.replace(" ", "-") for h in plain}


class Pages(unittest.TestCase):
    def test_links_lead_to_files_and_headings(self):
        for page in pages():
            for target in LINK.findall(CODE.sub("", read(page))):
                if "://" in target or target.startswith("mailto:"):
                    continue
                path, _, anchor = target.partition("#")
                path = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
                with self.subTest(page=page, target=target):
                    self.assertTrue(os.path.exists(os.path.join(REPOSITORY, path)))
                    if anchor:
                        self.assertIn(anchor, anchors(read(path)))

    def test_no_page_contains_an_unsolved_conflict(self):
        for page in pages():
            for line in read(page).splitlines():
                self.assertNotRegex(line, "^(<<<<<<< |>>>>>>> |=======$)", page)

    def test_the_index_names_each_page(self):
        index = read("docs/README.md")
        for page in pages():
            directory, name = os.path.split(page)
            if directory == "docs" and name != "README.md":
                self.assertTrue("(%s)" % name in index, "docs/README.md lacks " + name)

    def test_the_list_of_decisions_is_complete(self):
        index = read("docs/decisions/README.md")
        for page in pages():
            directory, name = os.path.split(page)
            if directory == "docs/decisions" and name != "README.md":
                title = read(page).splitlines()[0]
                entry = "[%s](%s)" % (title.lstrip("# "), name)
                self.assertTrue(entry in index, "docs/decisions/README.md lacks " + entry)
                self.assertIn("Status", read(page))

    def test_shared_paths_stand_on_the_page_of_files(self):
        module = re.search(r"pub mod path \{\n(.*?)\n\}", read("crates/edge-common/src/contract.rs"), re.S)
        paths = re.findall(r'&str = "([^"]+)"', module.group(1))
        self.assertTrue(paths)
        page = read("docs/filesystem.md")
        for path in paths:
            with self.subTest(path=path):
                self.assertTrue("`%s" % path in page, "docs/filesystem.md does not list it")


if __name__ == "__main__":
    unittest.main()
