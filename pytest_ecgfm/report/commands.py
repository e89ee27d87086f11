"""Commands on finished runs: what each takes, and what it prints. What a command needs is imported when it runs."""

import argparse
from pathlib import Path

from pytest_ecgfm.cards.bounded_files import read_json
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.report.printed import complain, say

_SHOWN = 20


def gate_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what ``ecgfm gate`` takes."""
    parser.add_argument("folder", type=Path, metavar="RUN", help="what --ecgfm-out named, or ecgfm-results/latest")
    parser.add_argument("--whole", action="store_true", help="a run that options narrowed is no pass")


def gate(args: argparse.Namespace) -> int:
    """Return 0 if the newest run passes, else 1, and say which run it is."""
    from pytest_ecgfm.results.gate import newest
    from pytest_ecgfm.results.identity import told_identity

    folder, outcome = newest(args.folder)
    passes, told = outcome == "pass", outcome
    if passes:
        identity = told_identity(read_json(folder / "verdict.json"))
        told = identity.headline(outcome)
        if args.whole and identity.narrowed:
            passes, told = False, f"{told}; --whole takes no part for the whole"
    line = f"{folder}: {told}"
    if passes:
        say(line)
    else:
        complain(line)
    return 0 if passes else 1


def verify_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what ``ecgfm verify`` takes."""
    parser.add_argument("folder", metavar="RUN", type=Path, help="folder of a finished run")


def verify(args: argparse.Namespace) -> int:
    """Return 0 if a run's verdict belongs to its cube and rows, else 1, and say what does not fit."""
    from pytest_ecgfm.report.verify import verify as problems_of

    problems = problems_of(args.folder)
    for problem in problems[:_SHOWN]:
        complain(problem)
    if len(problems) > _SHOWN:
        complain(f"and {len(problems) - _SHOWN} more")
    if problems:
        complain(f"{args.folder}: the verdict does not belong to this run")
        return 1
    say(f"{args.folder}: the verdict belongs to this run")
    return 0


def card_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what ``ecgfm card`` takes."""
    parser.add_argument("folder", metavar="RUN", type=Path, help="folder of a finished run")
    parser.add_argument("--model", default="", metavar="NAME", help="which model, of a run that tested several")
    parser.add_argument("--out", metavar="FILE", type=Path, help="write it there, instead of printing it")


def card(args: argparse.Namespace) -> int:
    """Print or write the section of a model card for the Hugging Face Hub."""
    from pytest_ecgfm.report.hub_card import hub_card

    text = hub_card(args.folder, args.model)
    if args.out is None:
        say(text.rstrip("\n"))
    else:
        _write("--out", args.out, text)
    return 0


def history_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what ``ecgfm history`` takes."""
    parser.add_argument("places", metavar="RUN", nargs="+", type=Path, help="folder of runs, or of one; at any depth")
    parser.add_argument(
        "--page",
        metavar="FILE",
        type=Path,
        help="where the page goes; default history.html in the only folder, or here",
    )
    parser.add_argument(
        "--any-name", action="store_true", help="runs of one encoder each are releases of one, whatever its name"
    )


def history(args: argparse.Namespace) -> int:
    """Print what each check gave over releases, and draw it on one page."""
    from pytest_ecgfm.report.history import history_lines, read_history
    from pytest_ecgfm.report.history_page import history_page
    from pytest_ecgfm.report.page import write_whole

    series, apart = read_history(args.places, any_name=args.any_name)
    for line in history_lines(series, apart):
        say(line)
    only = args.places[0] if len(args.places) == 1 else Path()
    try:
        say(str(write_whole(args.page or only / "history.html", history_page(series, apart))))
    except OSError as error:
        raise EcgfmError(f"--page: the page cannot be written: {error.strerror}.") from None
    return 0


def leaderboard_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what ``ecgfm leaderboard`` takes."""
    parser.add_argument("places", metavar="RUN", nargs="+", type=Path, help="folder of runs, or of one; at any depth")
    parser.add_argument("--html", metavar="FILE", type=Path, help="also write it as a page")
    parser.add_argument("--csv", metavar="FILE", type=Path, help="also write the ranks as a table")


def leaderboard(args: argparse.Namespace) -> int:
    """Rank the models of several runs on the same records."""
    from pytest_ecgfm.report.leaderboard import leaderboard_lines, leaderboard_table, read_leaderboard
    from pytest_ecgfm.report.leaderboard_page import leaderboard_page

    contests, apart = read_leaderboard(args.places)
    for line in leaderboard_lines(contests, apart):
        say(line)
    if args.html is not None:
        _write("--html", args.html, leaderboard_page(contests, apart))
    if args.csv is not None:
        _write("--csv", args.csv, str(leaderboard_table(contests).to_csv(index=False, lineterminator="\n")))
    return 0


def _write(option: str, path: Path, text: str) -> None:
    """Write a file that an option asks for, and say where it is."""
    from pytest_ecgfm.report.page import write_whole

    try:
        say(str(write_whole(path, text)))
    except OSError as error:
        raise EcgfmError(f"{option}={path}: cannot be written: {error.strerror}.") from None


def table_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what ``ecgfm table`` takes."""
    parser.add_argument("runs", nargs="+", metavar="RUN", type=Path, help="folder of a finished run, or its cube")
    parser.add_argument("--format", choices=("markdown", "csv", "latex"), default="markdown", help="what is printed")
    parser.add_argument("--out", metavar="DIR", type=Path, help="write each table there, in all three formats")


def table(args: argparse.Namespace) -> int:
    """Print the tables of finished runs."""
    from pytest_ecgfm.report.loaded import load
    from pytest_ecgfm.report.tables import WRITERS, tables

    found = tables([load(run) for run in args.runs])
    if not found:
        raise EcgfmError("these runs have no results of the downstream, transfer or separability suites.")
    for table in found:
        say(WRITERS[args.format][1](table))
    if args.out is not None:
        try:
            args.out.mkdir(parents=True, exist_ok=True)
            for table in found:
                # Encoders' names are part of a file's name; what a folder could be made of is not.
                stem = "".join(one if one.isalnum() or one in "-_." else "-" for one in table.name)
                for ending, write in WRITERS.values():
                    (args.out / f"{stem}.{ending}").write_text(write(table), encoding="utf-8")
        except OSError as error:
            raise EcgfmError(f"--out={args.out}: cannot be written: {error.strerror}.") from None
    return 0


def report_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what ``ecgfm report`` takes."""
    parser.add_argument("folder", metavar="RUN", type=Path, help="folder of a finished run")
    parser.add_argument("--pdf", action="store_true", help="also write the page as a PDF beside it (needs Chromium)")
    parser.add_argument(
        "--baseline",
        action="append",
        default=[],
        metavar="RUN",
        type=Path,
        help="an earlier run: the page says what changed since; repeatable",
    )


def report(args: argparse.Namespace) -> int:
    """Draw the page of a finished run again."""
    from pytest_ecgfm.report.loaded import load
    from pytest_ecgfm.report.page import write_page
    from pytest_ecgfm.report.pdf import print_page

    try:
        page = write_page(args.folder, [load(one) for one in args.baseline])
        say(str(page))
        if args.pdf:
            say(str(print_page(page)))
    except OSError as error:
        raise EcgfmError(f"run {args.folder}: cannot be written: {error.strerror}.") from None
    return 0


def figures_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what ``ecgfm figures`` takes."""
    parser.add_argument("run_folder", metavar="RUN", type=Path, help="folder of a finished run, or its cube")
    parser.add_argument(
        "out", metavar="DIR", type=Path, help="folder for the figures; each is written as SVG and as PNG"
    )


def figures(args: argparse.Namespace) -> int:
    """Draw the figures of a finished run."""
    from pytest_ecgfm.report.figures import write_figures
    from pytest_ecgfm.report.loaded import load

    run = load(args.run_folder)
    try:
        written = write_figures(run, args.out)
    except OSError as error:
        raise EcgfmError(f"{args.out}: cannot be written: {error.strerror}.") from None
    if not written:
        raise EcgfmError(f"run {args.run_folder}: it has no results that a figure shows.")
    for path in written:
        say(str(path))
    return 0


def compare_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what ``ecgfm compare`` takes."""
    parser.add_argument("before", metavar="RUN", type=Path, help="folder of a finished run, or its cube")
    parser.add_argument("after", metavar="RUN", nargs="+", type=Path, help="a later run to compare with it; repeatable")


def compare(args: argparse.Namespace) -> int:
    """Print what changed between runs."""
    from pytest_ecgfm.report.compare import compare as lines_of
    from pytest_ecgfm.report.loaded import load

    before = load(args.before)
    for run in args.after:
        for line in lines_of(before, load(run)):
            say(line)
    return 0


def parity_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what ``ecgfm parity`` takes."""
    parser.add_argument("model", metavar="MODEL", help="a model's name, a card (model.toml), or FILE.py::NAME")
    parser.add_argument("--checkpoint", metavar="PATH", help="its weights: a file, a folder, or hf://owner/repo/file")
    parser.add_argument("--vectors", metavar="FILE.npz", type=Path, required=True, help="official embeddings")
    parser.add_argument("--device", default="cpu", help="where a torch model runs (default: %(default)s)")


def parity(args: argparse.Namespace) -> int:
    """Return 0 if the adapter equals the official code on all records, else 1, and say how far it is from it."""
    import numpy as np

    from pytest_ecgfm.cards.parity import weights_in_words
    from pytest_ecgfm.encoders.parity import differences, load_named, read_vectors

    vectors = read_vectors(args.vectors)
    encoder = load_named(args.model, args.checkpoint, args.device)
    card = encoder.card
    if card.checkpoint:
        say(f"{card.name}: {weights_in_words(card.published_sha256, encoder.checkpoint_sha256)}")
    status = 0
    for how, found in differences(encoder, vectors).items():
        row, column = np.unravel_index(np.abs(found).argmax(), found.shape)
        worst, official = abs(found[row, column]), vectors.embedding[row, column]
        line = (
            f"{card.name} {how}: {len(found)} records, largest difference {worst:.2g} (allowed {vectors.tolerance:g})"
        )
        if not worst <= vectors.tolerance:
            status = 1
            line += (
                f": record {row}, dimension {column} is {official + found[row, column]:.6g}, officially {official:.6g}"
            )
        say(line)
    say(f"{card.name}: {'equal to' if status == 0 else 'NOT equal to'} the official embeddings of {args.vectors}")
    return status
