"""The installed version."""

from importlib.metadata import PackageNotFoundError, version


def megactor_version() -> str:
    """The version of the installed package, or "uninstalled" where it runs from a bare checkout."""
    try:
        return version("megactor")
    except PackageNotFoundError:
        return "uninstalled"
