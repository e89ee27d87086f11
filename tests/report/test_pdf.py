"""Printing the page: what is done without a Chromium, or with one that does not print. A real one: test_browser.py."""

import shutil

import pytest

from pytest_ecgfm.cli import main


@pytest.fixture
def run(made, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(made[0], folder)
    return folder


def browser(folder, monkeypatch, script):
    path = folder / "chromium"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_without_chromium_it_is_one_line_and_the_page_is_there(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["report", str(run), "--pdf"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ecgfm: --pdf: needs Chromium") and error.count("\n") == 1
    assert (run / "generalization.html").is_file()


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo 'no display' >&2; exit 3", "printed nothing (exit status 3): no display."),
        # A file that is no PDF is no PDF.
        ('for one in "$@"; do case $one in --print-to-pdf=*) echo x > "${one#*=}";; esac; done', "printed nothing"),
    ],
)
def test_a_browser_that_does_not_print_is_one_line(run, tmp_path, monkeypatch, capsys, script, told):
    browser(tmp_path, monkeypatch, script)
    assert main(["report", str(run), "--pdf"]) == 2
    assert told in capsys.readouterr().err
    assert not [path for path in run.iterdir() if path.suffix == ".pdf"]


def test_the_browser_has_a_profile_of_its_own_and_reads_the_page(run, tmp_path, monkeypatch, capsys):
    log = tmp_path / "log"
    write = 'case $one in --print-to-pdf=*) echo "%PDF-1.4" > "${one#*=}";; esac'
    browser(tmp_path, monkeypatch, f'echo "$@" > {log}; for one in "$@"; do {write}; done')
    assert main(["report", str(run), "--pdf"]) == 0
    page, pdf = capsys.readouterr().out.splitlines()
    assert pdf == str(run / "generalization.pdf") and page == str(run / "generalization.html")
    given = log.read_text()
    assert (run / "generalization.html").as_uri() in given
    assert "--headless" in given and "--user-data-dir=" in given and "--disable-background-networking" in given
