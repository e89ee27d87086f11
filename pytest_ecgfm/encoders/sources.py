"""Where a model's weights are: a file, a folder, a file on the Hugging Face Hub, or one in an installed package."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, metadata, version
from importlib.util import find_spec
from pathlib import Path

from pytest_ecgfm.cards import ModelCard
from pytest_ecgfm.errors import EcgfmError, first_line

OPTION = "--ecgfm-checkpoint"

_IN_PACKAGE = re.compile(r"package://(?P<package>\w+)/(?P<file>[^#]+)#sha256=(?P<digest>[0-9a-f]{64})")
_ON_HUB = re.compile(r"hf://(?P<repository>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?/(?P<file>.+)")


def parse_checkpoints(texts: Sequence[str]) -> dict[str, str]:
    """Read the values of ``--ecgfm-checkpoint``.

    Parameters
    ----------
    texts : sequence of str
        Each ``NAME=PATH``; the path may itself hold ``=``.

    Returns
    -------
    dict
        Model name to path or address, as it was given.

    Raises
    ------
    EcgfmError
        If a part is missing, or a name is given twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, _, place = (part.strip() for part in text.partition("="))
        if not name or not place:
            raise EcgfmError(f"{OPTION}={text}: should be NAME=PATH, such as my_model=weights.safetensors.")
        if name in found:
            raise EcgfmError(f"{OPTION}: {name!r} is given twice, as {found[name]} and as {place}.")
        found[name] = place
    return found


def resolve_checkpoint(
    card: ModelCard, given: Mapping[str, str], *, download: Callable[[str], Path] | None = None
) -> Path:
    """Find a model's weights on this machine, fetching them where an address of the Hub was given.

    Nothing is fetched unless it was asked for: without an entry for the model there is no default address, but for
    weights that a Python package brings (see `packaged`).

    Parameters
    ----------
    card : ModelCard
        Says which file is needed, and where it is published; ``package://...`` is looked for where nothing was given.
    given : mapping of str to str
        Model name to a file, a folder, or ``hf://owner/repo[@revision]/file`` (see `parse_checkpoints`).
    download : callable, optional
        Address to path; `fetch` by default.

    Returns
    -------
    Path
        A file or a folder that exists.

    Raises
    ------
    EcgfmError
        If nothing was given for the model, or what was given is not there.
    """
    text = given.get(card.name)
    if text is None and card.source.startswith("package://"):
        return packaged(card.source, needed_by=f"model {card.name!r}")
    if text is None:
        raise EcgfmError(_missing(card))
    if text.startswith("hf://"):
        return (download or fetch)(text)
    if "://" in text:
        raise EcgfmError(f"{OPTION}={card.name}={text}: should be a path or hf://owner/repo[@revision]/file.")
    path = Path(text).expanduser()
    if not path.exists():
        raise EcgfmError(f"{OPTION}={card.name}={text}: no such file or folder.")
    return path


def checkpoint_digest(path: Path) -> str:
    """SHA-256 of a checkpoint's file, of ``model.safetensors`` in a folder; empty where it cannot be read."""
    file = path / "model.safetensors" if path.is_dir() else path
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return ""


def _missing(card: ModelCard) -> str:
    said = [f"model {card.name!r} needs its weights: {card.checkpoint or 'a checkpoint'}"]
    said += [f"from {card.source}"] if card.source else []
    said += [f"({card.licence})"] if card.licence else []
    return f"{' '.join(said)}. Give {OPTION}={card.name}=PATH."


def packaged(address: str, *, needed_by: str) -> Path:
    """Find a file of an installed package, without importing the package, and compare its digest.

    Parameters
    ----------
    address : str
        ``package://PACKAGE/FILE#sha256=DIGEST``, the file relative to the package's folder.
    needed_by : str
        What the file is for; begins the messages.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    EcgfmError
        If the address is malformed, the package or the file is not there, or the file is another one.
    """
    match = _IN_PACKAGE.fullmatch(address)
    if match is None or ".." in match["file"].split("/"):
        raise EcgfmError(f"{needed_by}: {address} should be package://PACKAGE/FILE#sha256=DIGEST.")
    package = match["package"]
    spec = find_spec(package)
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    if not folders:
        raise EcgfmError(
            f"{needed_by} needs package {package!r}, which contains its weights: {_how_to_install(package)}"
        )
    file = next((folder / match["file"] for folder in folders if (folder / match["file"]).is_file()), None)
    installed = f"{package} {_version(package)} is installed; {_how_to_install(package)}"
    if file is None:
        raise EcgfmError(f"{needed_by}: package {package!r} has no file {match['file']} ({installed}).")
    found = checkpoint_digest(file)
    if not found:
        raise EcgfmError(f"{needed_by}: {file}: cannot be read.")
    if found != match["digest"]:
        raise EcgfmError(
            f"{needed_by}: {file}: expected SHA-256 {match['digest']}, found {found}: other weights ({installed})."
        )
    return file


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of unknown version"


def _how_to_install(package: str) -> str:
    # An extra that is called like the package pins the versions whose file is the published one.
    try:
        extras = metadata("pytest-ecgfm").get_all("Provides-Extra") or []
    except PackageNotFoundError:
        extras = []
    return f"pip install '.[{package}]'" if package in extras else f"pip install {package}"


def fetch(address: str) -> Path:
    """Fetch one file from the Hugging Face Hub, or find it in the Hub's cache.

    ``HF_HUB_OFFLINE``, ``HF_TOKEN``, ``HF_ENDPOINT`` and ``HF_HOME`` mean what they mean to `huggingface_hub`.

    Parameters
    ----------
    address : str
        ``hf://owner/repo[@revision]/file``.

    Raises
    ------
    EcgfmError
        If the address is malformed, the extra is not installed, or the file cannot be had.
    """
    match = _ON_HUB.fullmatch(address)
    if match is None or ".." in match["file"].split("/"):
        raise EcgfmError(f"{OPTION}: {address} should be hf://owner/repo[@revision]/file.")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise EcgfmError(f"{address}: needs an extra: pip install 'pytest-ecgfm[models]'") from None
    try:
        return Path(hf_hub_download(match["repository"], match["file"], revision=match["revision"]))
    except Exception as error:
        # The Hub's client raises its own errors, the operating system's and those of its HTTP library, which changed.
        raise EcgfmError(f"{address}: {_reason(error)}") from None


# By class name: the Hub's client has moved its errors between modules. The first that fits counts.
_REASONS = {
    "GatedRepoError": "its owner asks for consent: accept the terms on its page, then set HF_TOKEN.",
    "RepositoryNotFoundError": "no such repository, or it is private (then set HF_TOKEN).",
    "RevisionNotFoundError": "the repository has no such revision.",
    "LocalEntryNotFoundError": "not in the Hub's cache, and the Hub cannot be reached (or is switched off).",
    "EntryNotFoundError": "the repository has no such file.",
}


def _reason(error: Exception) -> str:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    for name, reason in _REASONS.items():
        if name in kinds:
            return reason
    first = first_line(error)
    return f"cannot be fetched ({type(error).__name__}{': ' if first else ''}{first[:200]})."
