"""The ``ecgfm`` command: what is done beside a pytest run.

Each subcommand is one row of `COMMANDS`. What a command needs is imported when it runs.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from pytest_ecgfm.cards.bounded_files import read_bounded
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.report import commands
from pytest_ecgfm.report.escape import csv_cell, json_text, terminal
from pytest_ecgfm.report.printed import complain, say

if TYPE_CHECKING:
    from pytest_ecgfm.cohorts.base import Cohort


@dataclass(frozen=True)
class Command:
    """A subcommand.

    Attributes
    ----------
    name : str
        As typed.
    help : str
        One line.
    arguments : callable
        Adds its arguments to a parser.
    run : callable
        Given the parsed arguments, returns the exit status; raises `EcgfmError` for bad input.
    """

    name: str
    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


@contextmanager
def bar(description: str, unit: str = "record") -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on the standard error output, if that is a terminal; yields a function of (done, total)."""
    with tqdm(desc=terminal(description), unit=unit, leave=False, disable=None, file=sys.stderr) as shown:

        def show(done: int, total: int) -> None:
            shown.total = total
            shown.update(done - shown.n)

        yield show


def _cohorts_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dir", nargs="?", type=Path, help="folder that contains cohorts; default: the embedded cohorts")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--records", action="store_true", help="print one line for each record, as CSV")
    shape.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--cohort", action="append", metavar="NAME", help="only this cohort; repeatable")
    parser.add_argument(
        "--labels", default="", metavar="NAMES", help="also count these labels: columns, or codes such as scp:LVH"
    )
    parser.add_argument("--labels-file", type=Path, metavar="FILE", help="also count the labels of a TOML file")
    parser.add_argument("--quick", action="store_true", help="do not read signals: no quality, heart rates or digest")


def _load_all(root: Path | None, names: list[str] | None) -> Iterator[tuple["Cohort | EcgfmError", dict[str, Any]]]:
    """Yield each cohort, or why it cannot be loaded, with where it is."""
    from pytest_ecgfm.cohorts import available_cohorts, load_cohort
    from pytest_ecgfm.cohorts.discovery import discover, load_found
    from pytest_ecgfm.errors import unknown_name
    from pytest_ecgfm.results.cohort_order import cohort_order

    there = available_cohorts(root)
    found = {} if root is None else discover(root)
    for name in names or cohort_order(there):
        if name not in there:
            raise unknown_name("cohort", name, there, where="--cohort")
        place: dict[str, Any] = {"layout": "embedded", "paths": [], "alternatives": []}
        if name in found:
            here = found[name]
            place = {
                "layout": here.layout,
                "paths": list(map(str, here.paths)),
                "alternatives": [
                    {"layout": other.layout, "paths": list(map(str, other.paths))} for other in here.alternatives
                ],
            }
        try:
            yield (load_cohort(name) if root is None else load_found(found[name])), place
        except EcgfmError as error:
            yield error, place


def _cohorts(args: argparse.Namespace) -> int:
    from pytest_ecgfm.cohorts.endpoints import with_labels
    from pytest_ecgfm.cohorts.overview import describe, lines, summarise, survey
    from pytest_ecgfm.cohorts.targets import asked_targets
    from pytest_ecgfm.encoders.registry import models_by_exposure

    status, reports = 0, list[dict[str, Any]]()
    targets = asked_targets(args.labels, args.labels_file)
    for found, place in _load_all(args.dir, args.cohort):
        if isinstance(found, EcgfmError):
            complain(str(found))
            status = 2
            continue
        cohort = with_labels(found, targets.endpoints.values())
        about = {**describe(cohort, targets.quantities.values()), **place, "digest": None}
        about["pretraining"] = {} if place["layout"] == "folder" else models_by_exposure(cohort.name)
        table = cohort.table.join(cohort.labels).rename_axis("record")
        if not args.quick:
            from pytest_ecgfm.encoders.heart_rate import heart_rate_of  # not for --quick

            with bar(cohort.name) as show:
                table = survey(cohort, heart_rate_of, show)
            about |= summarise(table)
            if not about["unreadable"]:
                about["digest"] = cohort.digest
        if args.records:
            rows = table.reset_index()
            rows.insert(0, "cohort", cohort.name)
            rows = rows.rename(columns=csv_cell).map(lambda one: csv_cell(one) if isinstance(one, str) else one)
            rows.to_csv(sys.stdout, header=not reports, index=False, lineterminator="\n")
        elif not args.json:
            for line in (*lines(about, [Path(path) for path in place["paths"]]), ""):
                say(line)
        reports.append(about)
    if args.json:
        sys.stdout.write(f"{json_text(reports)}\n")
    # To see a fixture's cohort, its file would have to be run; this command only reads.
    with suppress(OSError, EcgfmError):
        if b"ecg_cohort" in read_bounded(Path("conftest.py"), 1_000_000):
            complain("cohorts of @ecg_cohort fixtures are not shown here; pytest --ecgfm-list names them.")
    return status


def _fetch_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cohort", help="such as ptb-xl")
    parser.add_argument("dir", type=Path, help="data folder; the release is put into a folder of its own there")
    parser.add_argument("--records", type=int, metavar="N", help="the tables and the first N records only")
    parser.add_argument("--jobs", type=int, default=4, metavar="N", help="parallel downloads (default: %(default)s)")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--base-url", default=os.environ.get("ECGFM_FETCH_URL"), help=argparse.SUPPRESS)


def _fetch(args: argparse.Namespace) -> int:
    from pytest_ecgfm.cohorts.fetch import fetch

    with tqdm(desc=terminal(args.cohort), unit="file", leave=False, disable=None, delay=1.0, file=sys.stderr) as shown:

        def show(done: int, total: int, size: int) -> None:
            shown.total = total
            shown.set_postfix_str(f"{size / 1e6:.1f} MB", refresh=False)
            shown.update(done - shown.n)

        done = fetch(
            args.cohort,
            args.dir,
            records=args.records,
            jobs=args.jobs,
            confirm=lambda text: _agreed(text, args.yes),
            base_url=args.base_url,
            progress=show,
        )
    say(f"{done.folder}: {done.downloaded} files downloaded, {done.present} were already there; all were checked")
    return 0


def _agreed(text: str, yes: bool) -> bool:
    """Ask whoever is there to agree, unless they did so beforehand."""
    sys.stderr.write("\n".join(map(terminal, text.split("\n"))) + "\n")
    if yes:
        return True
    if not sys.stdin.isatty():
        raise EcgfmError("cannot ask for your agreement without a terminal: give --yes.")
    sys.stderr.write("Continue? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _convert_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="IN", type=Path, help="a checkpoint of torch.save")
    parser.add_argument("target", metavar="OUT.safetensors", type=Path, help="file for the tensors; must not exist yet")
    parser.add_argument("--trust", action="store_true", help="open IN, although this can run code that IN contains")


def _convert(args: argparse.Namespace) -> int:
    from pytest_ecgfm.encoders.convert import convert

    say(convert(args.source, args.target, trust=args.trust))
    return 0


def _cache_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dir", type=Path, help="the cache; default $ECGFM_CACHE, else the user's cache folder")
    parser.add_argument("--encoder", metavar="NAME", help="only embeddings of this model")
    parser.add_argument("--cohort", metavar="NAME", help="only embeddings of this cohort")
    parser.add_argument("--older-than", type=float, metavar="DAYS", help="only what no run used in the last DAYS days")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--prune", action="store_true", help="remove what is listed, except what a run is using")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def _cache(args: argparse.Namespace) -> int:
    from pytest_ecgfm.embeddings.store import cache_folder, entries
    from pytest_ecgfm.report.cached import counted, prune, table_lines

    if args.older_than is not None and not args.older_than >= 0:
        raise EcgfmError(f"--older-than={args.older_than:g}: should be a number of days, 0 or more.")
    folder = cache_folder(args.dir)
    before = time.time() - 86400 * (args.older_than or 0)
    found = [
        one
        for one in entries(folder)
        if args.encoder in (None, one.encoder)
        and args.cohort in (None, one.cohort)
        and (args.older_than is None or one.used < before)
    ]
    total = f"{counted(len(found))}, {sum(one.size for one in found) / 1e6:.1f} MB in {folder}"
    if args.json:
        sys.stdout.write(f"{json_text([{**asdict(one), 'folder': str(one.folder)} for one in found])}\n")
    else:
        for line in table_lines(found):
            say(line)
        say(total)
    ours = [one for one in found if one.ours]
    size = f"{sum(one.size for one in ours) / 1e6:.1f} MB"
    if args.prune and (not ours or _agreed(f"This removes {counted(len(ours))}, {size}.", args.yes)):
        gone, left = prune(found)
        for line in left:
            complain(line)
        say(f"removed {counted(len(gone))}, {sum(one.size for one in gone) / 1e6:.1f} MB")
    return 0


COMMANDS: tuple[Command, ...] = (
    Command("cohorts", "show what a data folder contains: counts, labels, quality", _cohorts_arguments, _cohorts),
    Command("fetch", "download a cohort from where it is published", _fetch_arguments, _fetch),
    Command(
        "convert", "convert a checkpoint that cannot be opened safely into one that can", _convert_arguments, _convert
    ),
    Command("cache", "list the embeddings that are kept between runs, and remove them", _cache_arguments, _cache),
    Command("report", "draw generalization.html of a finished run again", commands.report_arguments, commands.report),
    Command("figures", "draw a run's figures for papers, as SVG and PNG", commands.figures_arguments, commands.figures),
    Command("compare", "say what changed between runs, with intervals", commands.compare_arguments, commands.compare),
    Command(
        "card", "write a run as a model card section for the Hugging Face Hub", commands.card_arguments, commands.card
    ),
    Command(
        "gate",
        "say whether the newest run of a folder passes; the exit status is for CI",
        commands.gate_arguments,
        commands.gate,
    ),
    Command(
        "history",
        "say what each check gave over releases, and what was lost little by little",
        commands.history_arguments,
        commands.history,
    ),
    Command(
        "leaderboard",
        "rank the models of several runs on the same records, with intervals of the ranks",
        commands.leaderboard_arguments,
        commands.leaderboard,
    ),
    Command(
        "verify",
        "say whether a run's verdict belongs to its cube and rows; exit status 1 if not",
        commands.verify_arguments,
        commands.verify,
    ),
    Command(
        "parity", "hold an adapter against official embeddings of one's own", commands.parity_arguments, commands.parity
    ),
    Command("table", "print and write the paper's tables of finished runs", commands.table_arguments, commands.table),
)
"""Every subcommand."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ecgfm", description="Cohorts and runs of pytest-ecgfm.", allow_abbrev=False)
    below = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        part = below.add_parser(command.name, help=command.help, description=command.help, allow_abbrev=False)
        command.arguments(part)
        part.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments, without the program's name; those of the process by default.

    Returns
    -------
    int
        0; 2 for bad input, which one line on the standard error output explains; 130 if interrupted.
    """
    args = _parser().parse_args(argv)
    try:
        status: int = args.run(args)
        sys.stdout.flush()
    except EcgfmError as error:
        complain(str(error))
        return 2
    except KeyboardInterrupt:
        complain("interrupted")
        return 130
    except BrokenPipeError:
        # The reader of our output (``| head``) has seen enough; what Python would flush at exit goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


if __name__ == "__main__":
    sys.exit(main())
