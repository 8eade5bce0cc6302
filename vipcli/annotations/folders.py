"""What lies in folders and around them, and the images that files name, in their folders and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path, PurePosixPath

from vipcli.annotations.values import DamageError, shown, word


def files_in(folder: Path, *endings: str) -> list[Path]:
    """The files in a folder whose names end so, by name, hidden ones left out."""
    return _listed(folder, lambda entry: entry.name.lower().endswith(endings) and _is_file(entry))


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder, by name, without links, which may lead round in circles."""
    return _listed(folder, lambda entry: entry.is_dir(follow_symlinks=False))


def _listed(folder: Path, wanted: Callable[[os.DirEntry[str]], bool]) -> list[Path]:
    # There may be millions of others.
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.name[0] != "." and wanted(entry))
    return [folder / name for name in names]


def _is_file(entry: os.DirEntry[str]) -> bool:
    # A link may lead in a circle.
    with suppress(OSError):
        return entry.is_file()
    return False


def files_below(folder: Path, ending: str) -> Iterator[Path]:
    """The files in a folder, then those in each of the folders in it."""
    folders = [folder]
    while folders:
        place = folders.pop()
        yield from files_in(place, ending)
        folders += reversed(folders_in(place))


def pictures_in(folder: Path) -> list[Path]:
    """The pictures in a folder, by name."""
    from vipcli.pictures.images import ENDINGS

    return files_in(folder, *ENDINGS)


def full(path: Path) -> Path:
    """A path from the root on, without `..` in it."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - to resolve it would follow links, whose names count


def above(folder: Path) -> Path:
    """The folder that a folder is in."""
    return folder.parent if folder.name not in ("", "..") else full(folder).parent


def around(folder: Path) -> list[Path]:
    """A folder and the two that it is in."""
    return [folder, *islice(full(folder).parents, 2)]


class Images:
    """Finds images by what files call them, in the first of some folders and never outside it."""

    def __init__(self, *folders: Path) -> None:
        self._folders = {folder: folder.resolve() for folder in folders if folder.is_dir()}
        self._shown = shown(folders[0])

    def named(self, *names: object) -> Path:
        """The image of a path as a file gives it, or several paths, else the one of that bare name."""
        words = [name.replace("\\", "/") for name in names if isinstance(name, str) and name.strip()]
        if not words:
            raise DamageError("no image file is named")
        return self._first([*words, PurePosixPath(words[-1]).name], shown(words[-1]))

    def of_stem(self, stem: str) -> Path:
        """The image whose name is this, whatever its ending."""
        from vipcli.pictures.images import ENDINGS

        ways = (stem + ending for low in ENDINGS for ending in (low, low.upper()))
        return self._first(ways, f"for {shown(stem)}")

    def beside(self, file: Path, name: object) -> Path:
        """The image of a file for one: by its name as seen from the file or a folder, else the file's own."""
        if not isinstance(name, str) or not name.strip():
            return self.of_stem(file.stem)
        name = name.replace("\\", "/")
        try:
            # `../images/a.jpg` leads from the file, and is fine if it ends below the folder of images.
            return self.named(str(full(file.parent / name)), name)
        except DamageError:
            bare = PurePosixPath(name)
            if bare.suffix:
                raise
            return self.of_stem(bare.name)

    def stems(self) -> dict[str, Path]:
        """The images by their names without endings; those of earlier folders come first."""
        files = [file for folder in reversed(self._folders) for file in reversed(pictures_in(folder))]
        return {file.stem: file for file in files}

    def _first(self, ways: Iterable[str], what: str) -> Path:
        outside = False
        for way in ways:
            for folder, real in self._folders.items():
                # Names may be too long, and links lead in a circle.
                with suppress(OSError, RuntimeError, ValueError):
                    path = Path(os.path.normpath(folder / way))
                    if not path.is_file():
                        continue
                    if path.resolve().is_relative_to(real):
                        below = os.path.relpath(path, folder)
                        return path if below.startswith("..") else folder / below
                    outside = True
        if outside:
            raise DamageError(f"the image {what} lies outside the folder {self._shown}")
        raise DamageError(f"there is no image {what} in the folder {self._shown}")


def id_of(image: Path, file: Path, base: Path) -> str:
    """An image's name below a folder; if it is not below it, as though it were beside its file."""
    if not image.is_relative_to(base):
        image = (file.parent if file.is_relative_to(base) else base) / image.name
    return word(image.relative_to(base).as_posix())
