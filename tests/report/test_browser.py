"""The page in a real browser: Chromium of the machine, headless. Skipped, saying so, where there is none."""

import re
import shutil
import subprocess
from itertools import product

import pytest

from pytest_ecgfm.report.history import read_history
from pytest_ecgfm.report.history_page import history_page
from pytest_ecgfm.report.leaderboard import read_leaderboard
from pytest_ecgfm.report.leaderboard_page import leaderboard_page
from pytest_ecgfm.report.page import write_page
from pytest_ecgfm.report.pdf import find_browser, options, print_page
from pytest_ecgfm.report.sections import SECTIONS
from tests.finished_runs import finished, planted
from tests.report.runs import write_run

sync_api = pytest.importorskip("playwright.sync_api", reason="the page is looked at by Playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="accessibility is checked by axe-core")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_browser() is None, reason="no Chromium on the PATH: the page is not tried in a browser"),
]

EVIL = "<img src=x onerror=\"document.title='evil'\"><script>document.title='evil'<b>"


@pytest.fixture(scope="module")
def chromium():
    # Playwright gives the browser a new profile each time.
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=list(options()))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def file(page, tmp_path_factory):
    path = tmp_path_factory.mktemp("browser") / "generalization.html"
    path.write_text(page, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def visit(chromium):
    """Open a file, in a theme and a width; whatever the page complains of or asks for is a failure."""
    contexts = []

    def go(path, scheme="light", width=1280):
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        shown = context.new_page()
        shown.told = []
        shown.on("console", lambda message: shown.told.append(message.text))
        shown.on("pageerror", lambda error: shown.told.append(str(error)))
        shown.on("request", lambda request: shown.told.append(request.url) if request.url != path.as_uri() else None)
        shown.goto(path.as_uri())
        return shown

    yield go
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def shown(visit, file):
    return visit(file)


def rows(shown):
    return shown.locator("#checks tbody tr:visible")


def reset(shown):
    shown.locator("#all").click()


def test_every_section_and_figure_is_drawn_without_an_error_or_a_request(shown):
    assert shown.told == []
    for section in SECTIONS:
        assert shown.locator(f"#{section.anchor} h2").is_visible()
    sizes = shown.eval_on_selector_all(
        "svg.chart", "all => all.map(one => [one.getBoundingClientRect().width, one.querySelectorAll('*').length])"
    )
    assert len(sizes) > 40
    assert all(width > 100 and parts > 8 for width, parts in sizes)
    # Something in ink, in each: a mark, a dot, a trace or a band that has a size.
    empty = """all => all.filter(svg => ![...svg.querySelectorAll('.mark, .dot, .trace, .share, .band')].some(
        one => { const box = one.getBoundingClientRect(); return box.width > 0 && box.height > 0; })).length"""
    assert shown.eval_on_selector_all("svg.chart", empty) == 0


def test_filters_and_the_matrix_choose_rows(shown, made):
    reset(shown)
    found = made[1]
    assert rows(shown).count() == len(found)
    shown.locator("select[data-field=suite]").select_option("transfer")
    shown.locator("select[data-field=outcome]").select_option("fail")
    wanted = [row for row in found if row.suite == "transfer" and row.outcome == "fail"]
    assert rows(shown).count() == len(wanted) > 0
    assert shown.locator("#told").inner_text() == f"{len(wanted)} of {len(found)} checks"
    reset(shown)
    shown.locator("#words").fill("clipping@0.5")
    assert rows(shown).count() == sum("clipping@0.5" in row.check for row in found)
    reset(shown)
    button = shown.locator("#matrix button", has_text=re.compile(r"\d")).and_(
        shown.get_by_label(re.compile("^two, downstream, georgia, AF:"))
    )
    # By keyboard, as everything should be possible.
    button.focus()
    shown.keyboard.press("Enter")
    wanted = [
        row
        for row in found
        if (row.encoder, row.suite, row.cohort, row.label) == ("two", "downstream", "georgia", "AF")
    ]
    assert rows(shown).count() == len(wanted) > 0
    reset(shown)
    assert rows(shown).count() == len(found)


def test_columns_sort_by_number_and_by_word(shown, made):
    reset(shown)
    head = shown.locator("#checks th", has_text="value").locator("button")
    values = "all => all.map(row => Number(row.cells[2].querySelector('data').value))"
    for turn in (False, True):
        head.click()
        found = rows(shown).evaluate_all(values)
        assert found == sorted(found, reverse=turn) and len(found) == len(made[1])
    threshold = shown.locator("#checks th", has_text="threshold").locator("button")
    threshold.click()
    found = rows(shown).evaluate_all("all => all.map(row => Number(row.cells[3].querySelector('data').value))")
    assert found == sorted(found)
    assert shown.locator("#checks th[aria-sort]").count() == 1


def test_pointing_at_a_record_says_which_it_is(shown):
    dot = shown.locator("#map circle.dot").last
    dot.scroll_into_view_if_needed()
    dot.hover(force=True)
    assert re.match(r"(ptb-xl|georgia)/r\d+: ", shown.locator("#tip").inner_text())
    # A tip that hides in a corner says nothing.
    box = shown.locator("#tip").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 1280


def test_a_check_leads_to_its_definition(shown):
    reset(shown)
    shown.locator("#checks tbody tr a").first.click()
    target = shown.evaluate("document.querySelector(':target').textContent")
    assert target in shown.evaluate("location.hash")
    assert shown.locator(":target").is_visible()


WIDTHS = (1400, 768, 390)
"""A desk, a tablet, a phone."""


@pytest.mark.parametrize(("scheme", "width"), [("light", 1400), ("dark", 1400), ("dark", 768), ("light", 390)])
def test_nothing_is_in_the_way_of_anybody(visit, file, scheme, width):
    shown = visit(file, scheme, width)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    ground = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(one) for one in re.findall(r"\d+", ground)[:3]) > 384) == (scheme == "light")
    shown.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true; })")
    # Thousands of equal rows and dots: some are enough to find what is wrong with them.
    shown.evaluate("document.querySelectorAll('#checks tbody tr:nth-child(n+9)').forEach(one => one.remove())")
    shown.evaluate("document.querySelectorAll('details tbody tr:nth-child(n+4)').forEach(one => one.remove())")
    shown.evaluate("document.querySelectorAll('circle.dot:nth-child(n+9)').forEach(one => one.remove())")
    found = axe.Axe().run(shown, options={"resultTypes": ["violations"]}).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert [(one["id"], [node["target"] for node in one["nodes"]][:3]) for one in serious] == []
    assert shown.told == []


def test_no_column_is_cut_on_a_phone(visit, file):
    cut = (
        """all => all.filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.getAttribute('aria-label'))"""
    )
    for width in WIDTHS:
        shown = visit(file, width=width)
        first = "#worst .scroll, #matrix .scroll, #basis .scroll, #cohorts .scroll"
        assert shown.eval_on_selector_all(first, cut) == []
        assert shown.eval_on_selector_all("#matrix .scroll", "all => all.length") == 3
    # On a phone, no table at all: charts with a name a row are the only ones that scroll.
    shown.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true; })")
    assert shown.eval_on_selector_all(".scroll:not(.rows)", cut) == []
    # Each cell says which column it is, as the heads are out of sight.
    told = "one => getComputedStyle(one, '::before').content"
    assert shown.locator("#matrix td[data-head=downstream]").first.evaluate(told) == '"downstream: "'
    assert shown.locator("#matrix table").last.get_by_role("columnheader").count() == 6


def test_the_first_screen_answers_without_scrolling(visit, file):
    shown = visit(file, width=1400)
    bottom = "one => one.getBoundingClientRect().bottom"
    assert shown.locator("#worst").evaluate(bottom) <= 900
    assert shown.locator("#since").evaluate(bottom) <= 900
    for told in ("Why", "For whom not", "It rests on"):
        assert shown.get_by_text(told, exact=True).is_visible()
    # On a phone the answer itself comes first, and below it why.
    phone = visit(file, width=390)
    assert phone.locator(".banner .word").evaluate(bottom) <= 844
    assert phone.get_by_text("Why", exact=True).evaluate(bottom) <= 844


def test_everything_can_be_reached_by_keyboard_and_has_a_name(visit, file):
    shown = visit(file, width=390)
    # What takes the focus has a size: nothing is reached that cannot be seen.
    unseen = """all => all.filter(one => one.checkVisibility()).filter(one => {
        const box = one.getBoundingClientRect(); return box.width < 2 || box.height < 2; }).length"""
    assert shown.eval_on_selector_all("a[href], button, input, select, summary, [tabindex]", unseen) == 0
    for wanted in ("A", "SUMMARY"):
        shown.keyboard.press("Tab")
        for _ in range(12):
            if shown.evaluate("document.activeElement.tagName") == wanted:
                break
            shown.keyboard.press("Tab")
        assert shown.evaluate("document.activeElement.tagName") == wanted
    shown.keyboard.press("Enter")
    assert shown.evaluate("document.activeElement.parentElement.open") is True


def test_the_pages_of_releases_and_of_ranks_are_for_everybody_as_well(visit, tmp_path, monkeypatch):
    monkeypatch.delenv("ECGFM_DATA", raising=False)
    for number in (1, 2):
        folder = tmp_path / "all" / f"v{number}"
        finished(folder, lambda *_: planted(0.9), started=f"2026-01-0{number}T00:00:00Z")
    pages = {"history.html": history_page(*read_history([tmp_path]))}
    pages["leaderboard.html"] = leaderboard_page(*read_leaderboard([tmp_path]))
    for (name, text), width in product(pages.items(), (390, 1400)):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        shown = visit(path, width=width)
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        shown.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true; })")
        found = axe.Axe().run(shown, options={"resultTypes": ["violations"]}).response["violations"]
        assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
        assert shown.told == []


def test_names_from_outside_do_nothing(visit, tmp_path):
    folder, _ = write_run(tmp_path / "run", (EVIL,), (EVIL, "b"), (EVIL,), (1.0,), 20, EVIL)
    shown = visit(write_page(folder))
    assert shown.title().startswith(EVIL) and shown.told == []
    assert shown.locator("script").count() == 1
    shown.locator("#map circle.dot[data-tip*=img]").last.hover(force=True)
    assert EVIL in shown.locator("#tip").inner_text()
    assert shown.title().startswith(EVIL)


def test_the_page_prints(file):
    path = print_page(file)
    assert path.read_bytes()[:5] == b"%PDF-"
    reader = shutil.which("pdftotext")
    if reader is not None:
        text = subprocess.run([reader, "-layout", path, "-"], capture_output=True, text=True, check=True).stdout
        assert all(section.title in text for section in SECTIONS)
    assert sorted(one.name for one in file.parent.iterdir()) == ["generalization.html", "generalization.pdf"]
