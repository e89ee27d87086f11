"""Take the screenshots of the pages: `python docs/make_screenshots.py NAME=RUN...`, with Chromium on the PATH.

NAME is a picture's: `report-embedded` or `report-recordings` of docs/report.md, or `openecg` of README.md, which shows
the first screen alone. RUN is the folder of a finished run. Needs the extra `dev`.
"""

import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from pytest_ecgfm.report.loaded import load
from pytest_ecgfm.report.page import render
from pytest_ecgfm.report.pdf import find_browser, options

WIDTH, GAP, HIGHEST = 1400, 24, 880
"""Pixels: of the page and of a column, between parts, of a part at most."""
SHOWN = {"report-embedded": "light", "report-recordings": "dark", "openecg": "light"}
"""Pictures, and their theme."""

PARTS = ("header", "#matrix", "#auroc", "#relevance", "#map", "#separability")
"""What a picture shows, as far as the run has it."""
FIRST_SCREEN = {"openecg"}
"""Pictures that show the first of these alone."""


def take(browser: Browser, run: Path, scheme: str, parts: Sequence[str]) -> Image.Image:
    """Return parts of a run's page in two columns, each from its beginning."""
    context = browser.new_context(viewport={"width": WIDTH, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "generalization.html"
        path.write_text(render(load(run)), encoding="utf-8")
        page.goto(path.as_uri())
        pictures = []
        for part in parts:
            box = page.locator(part).first.bounding_box() if page.locator(part).count() else None
            if box is None:
                continue
            high = min(box["height"], HIGHEST)
            clip = {"x": 0, "y": box["y"], "width": WIDTH, "height": high}
            pictures.append(Image.open(BytesIO(page.screenshot(full_page=True, clip=clip))).convert("RGB"))
        ground = pictures[0].getpixel((0, 0))
    context.close()
    columns: list[list[Image.Image]] = [[], []]
    heights = [0, 0]
    for number, picture in enumerate(pictures):
        side = 0 if number < (len(pictures) + 1) // 2 else 1
        columns[side].append(picture)
        heights[side] += picture.height + GAP
    width = WIDTH if len(pictures) == 1 else 2 * WIDTH + GAP
    whole = Image.new("RGB", (width, max(heights)), ground)
    for side, column in enumerate(columns):
        y = 0
        for picture in column:
            whole.paste(picture, (side * (WIDTH + GAP), y))
            y += picture.height + GAP
    return whole.resize((whole.width * 2 // 3, whole.height * 2 // 3), Image.Resampling.LANCZOS)


def main(arguments: list[str]) -> None:
    """Take each picture."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=list(options()))
        for argument in arguments:
            name, _, run = argument.partition("=")
            parts = PARTS[:1] if name in FIRST_SCREEN else PARTS
            picture = take(browser, Path(run), SHOWN[name], parts)
            picture = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=4)
            path = Path(__file__).parent / f"{name}.png"
            picture.save(path, optimize=True)
            print(f"{path.name}: {picture.width} x {picture.height}, {path.stat().st_size / 1e3:.0f} kB")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
