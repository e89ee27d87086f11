"""Code blocks of README and docs: where they are, and the commands in them."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]


class Block(NamedTuple):
    """One fenced block."""

    page: Path
    line: int
    language: str
    body: str

    @property
    def file(self):
        """The file that its first line names, if it does."""
        found = re.match(r"# (\S+\.(?:py|toml))\n", self.body)
        return found and found[1]


def blocks(page, *languages):
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    all_of_them = [Block(page, text.count("\n", 0, one.start()) + 1, one[1], one[2]) for one in found]
    return [one for one in all_of_them if not languages or one.language in languages]


def commands(text):
    """Split shell text into commands: lists of words, without the folder of a virtual environment."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            one, words = words[:end], words[end + 1 :]
            found.append([one[0].removeprefix(".venv/bin/"), *one[1:]])
    return found


def commands_of(page):
    return [one for block in blocks(page, "sh") for one in commands(block.body)]


def write_files(page, folder):
    """Write the blocks that name their file, one after the other where several name it; return the files."""
    bodies = {}
    for block in blocks(page, "python", "toml"):
        if block.file:
            bodies.setdefault(block.file, []).append(block.body)
    for name, parts in bodies.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("\n\n".join(parts), encoding="utf-8")
    return list(bodies)
