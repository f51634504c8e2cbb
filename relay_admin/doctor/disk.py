"""Room in the folders that the product writes to from this machine."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from relay_admin.doctor.finding import Finding, broken, ok, warning

FULL_SHARE = 0.9
GIB = 2**30


def examine(folders: list[Path], *, least_bytes: int) -> Iterator[Finding]:
    """`least_bytes`: what should be free in each. A folder that is not there yet is looked at where it will be made."""
    for folder in folders:
        check = f"disk.{folder.name or 'root'}"
        there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            yield broken(check, f"{there} cannot be written to", "Give it to whoever the processes run as.")
        else:
            usage = shutil.disk_usage(there)
            yield room(check, folder, free_bytes=usage.free, total_bytes=usage.total, least_bytes=least_bytes)


def room(check: str, folder: Path, *, free_bytes: int, total_bytes: int, least_bytes: int) -> Finding:
    """A spill that finds no room refuses calls; a back-up that finds none is no back-up."""
    shown = f"{free_bytes / GIB:.1f} of {total_bytes / GIB:.1f} GiB free for {folder}"
    if free_bytes < least_bytes:
        return broken(check, shown, f"Free {least_bytes / GIB:.1f} GiB there, or use another disk.")
    if total_bytes and free_bytes < (1 - FULL_SHARE) * total_bytes:
        return warning(check, shown, "Free some room before it is full.")
    return ok(check, shown)
