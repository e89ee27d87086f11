"""Versions of what a run was made with."""

from importlib.metadata import PackageNotFoundError, version


def installed(package: str) -> str:
    """Return the version of an installed package; empty where there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
