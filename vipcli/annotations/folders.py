"""List folders, and find the images that annotation files name without leaving the image folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path, PurePosixPath

from vipcli.annotations.values import DamageError, one_line, quoted


def files_in(folder: Path, *endings: str) -> list[Path]:
    """The files in a folder with one of these endings, sorted by name, without hidden files."""
    return _list_names(folder, lambda entry: entry.name.lower().endswith(endings) and _is_file(entry))


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder, sorted by name; no links, since they may form a loop."""
    return _list_names(folder, lambda entry: entry.is_dir(follow_symlinks=False))


def _list_names(folder: Path, keep: Callable[[os.DirEntry[str]], bool]) -> list[Path]:
    # Filter while listing: there may be millions of other names.
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.name[0] != "." and keep(entry))
    return [folder / name for name in names]


def _is_file(entry: os.DirEntry[str]) -> bool:
    # A link may form a loop.
    with suppress(OSError):
        return entry.is_file()
    return False


def files_below(folder: Path, ending: str) -> Iterator[Path]:
    """The files with this ending in a folder, then those in its subfolders, recursively."""
    folders = [folder]
    while folders:
        current = folders.pop()
        yield from files_in(current, ending)
        folders += reversed(folders_in(current))


def pictures_in(folder: Path) -> list[Path]:
    """The pictures in a folder, sorted by name."""
    from vipcli.pictures.images import ENDINGS

    return files_in(folder, *ENDINGS)


def absolute(path: Path) -> Path:
    """An absolute path without `..`."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links, whose names matter


def parent_of(folder: Path) -> Path:
    """The parent of a folder, even of a relative one such as `.` or `..`."""
    return folder.parent if folder.name not in ("", "..") else absolute(folder).parent


def nearby_folders(folder: Path) -> list[Path]:
    """A folder, its parent and its grandparent."""
    return [folder, *islice(absolute(folder).parents, 2)]


class ImageFinder:
    """Finds images by name in the first of several folders that has them, and never outside the folders."""

    def __init__(self, *folders: Path) -> None:
        self._folders = {folder: folder.resolve() for folder in folders if folder.is_dir()}
        self._quoted_folder = quoted(folders[0])

    def by_name(self, *names: object) -> Path:
        """Find an image by the paths in an annotation file, or else by the file name in the last of them."""
        paths = [name.replace("\\", "/") for name in names if isinstance(name, str) and name.strip()]
        if not paths:
            raise DamageError("no image file is named")
        return self._find_first([*paths, PurePosixPath(paths[-1]).name], quoted(paths[-1]))

    def by_stem(self, stem: str) -> Path:
        """Find an image by its name without an ending."""
        from vipcli.pictures.images import ENDINGS

        candidates = (stem + ending for lower in ENDINGS for ending in (lower, lower.upper()))
        return self._find_first(candidates, f"for {quoted(stem)}")

    def for_file(self, file: Path, name: object) -> Path:
        """Find the image of a one-image annotation file by the given name, or else by the file's own name.

        The name is relative to the annotation file or to an image folder.
        """
        if not isinstance(name, str) or not name.strip():
            return self.by_stem(file.stem)
        name = name.replace("\\", "/")
        try:
            # `../images/a.jpg` is relative to the file, and fine if it ends up below the image folder.
            return self.by_name(str(absolute(file.parent / name)), name)
        except DamageError:
            path = PurePosixPath(name)
            if path.suffix:
                raise
            return self.by_stem(path.name)

    def stems(self) -> dict[str, Path]:
        """The images, keyed by name without ending; earlier folders take precedence."""
        files = [file for folder in reversed(self._folders) for file in reversed(pictures_in(folder))]
        return {file.stem: file for file in files}

    def _find_first(self, candidates: Iterable[str], wanted: str) -> Path:
        outside = False
        for candidate in candidates:
            for folder, resolved in self._folders.items():
                # Names may be too long, and links may form a loop.
                with suppress(OSError, RuntimeError, ValueError):
                    path = Path(os.path.normpath(folder / candidate))
                    if not path.is_file():
                        continue
                    if path.resolve().is_relative_to(resolved):
                        relative = os.path.relpath(path, folder)
                        return path if relative.startswith("..") else folder / relative
                    outside = True
        if outside:
            raise DamageError(f"the image {wanted} is outside the folder {self._quoted_folder}")
        raise DamageError(f"there is no image {wanted} in the folder {self._quoted_folder}")


def id_of(image: Path, file: Path, base: Path) -> str:
    """An image's path relative to `base`; one outside it counts as beside its annotation file."""
    if not image.is_relative_to(base):
        image = (file.parent if file.is_relative_to(base) else base) / image.name
    return one_line(image.relative_to(base).as_posix())
