"""Folders of episode files; a large one is cached as one compressed file."""

import json
import mmap
import os
import sys
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import chain
from pathlib import Path

from biml.episodes.episode import Episode, Example
from biml.episodes.text_format import (
    RESPONSES_FILE,
    Names,
    format_episode,
    parse_episode,
    read_episode,
    read_responses,
)
from biml.errors import BimlError
from biml.io import atomic_write
from biml.paths import user_cache_folder
from biml.progress import Progress, no_progress

CACHE_MIN_FILES = 1000
"""Smaller folders are read each time."""

PUBLISHED = "Lake and Baroni (2023)"
"""The end of the name of an experiment, in transcripts of the published responses."""

PUBLISHED_DIGESTS = {
    "few_shot": "2181cb34132e3d4f3087196e90c7b444",
    "open_ended": "9eb86b57d968c29e1af4a3279aa3a868",
    "probes": "922c043ef87c4a09030b33cbd3816ac6",
}
"""`responses_digest` of the published responses, by task."""

_CACHE_FORMAT = f"biml episodes 1 {sys.byteorder}"

_DICTIONARY_BYTES = 2**15


def read_episodes(path: Path, *, words: Names = None, symbols: Names = None) -> tuple[Episode, ...]:
    """Read all `*.txt` episodes of a folder, sorted by file name; see `parse_episode`."""
    files = _list_files(path)
    return tuple(read_episode(path / name, words=words, symbols=symbols) for name, _, _ in files)


def read_human_episodes(path: Path, *, file_holds: str = "query") -> tuple[Episode, ...]:
    """Read a folder of human responses; each query carries its item and its participant.

    An imported experiment has them in `responses.csv`. The published folders do not: there an item
    is named by its query, or by its file where a file is a `trial` with a study set of its own; the
    participant is known where a file holds the responses of one `participant`.
    """
    episodes = read_episodes(path)
    if (path / RESPONSES_FILE).is_file():
        return read_responses(path, episodes)

    def identified(episode: Episode, query: Example) -> Example:
        name = Path(episode.name).stem
        return query._replace(
            item=name if file_holds == "trial" else " ".join(query.input),
            participant=name if file_holds == "participant" else "",
        )

    return tuple(
        replace(e, queries=tuple(identified(e, query) for query in e.queries)) for e in episodes
    )


def responses_digest(episodes: Iterable[Episode]) -> str:
    """A digest of study examples and responses, independent of files and order."""
    texts = [
        format_episode(
            replace(e, study=tuple(sorted(e.study)), queries=tuple(sorted(e.queries)), grammar=None)
        )
        for e in episodes
    ]
    return blake2b("".join(sorted(texts)).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class EpisodeFolderDataset:
    """The episodes of a large folder, compressed in memory and parsed when accessed."""

    path: Path
    names: tuple[str, ...] = field(repr=False)
    packed: "CompressedTexts" = field(repr=False)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        words: Names = None,
        symbols: Names = None,
        cache: Path | None = None,
        progress: Progress = no_progress,
    ) -> "EpisodeFolderDataset":
        """Read the folder, or its compressed copy in the cache.

        The first time every file is read and checked. The copy is valid for the names, sizes and
        modification times of the files, so that a changed folder is read again.
        """
        listing = _list_files(path)
        names = tuple(name for name, _, _ in listing)
        digest = _digest(path, listing, words, symbols)
        file = (cache or user_cache_folder() / "episodes") / f"{_digest(path)}.packed"
        packed = CompressedTexts.load(file, digest)
        if packed is None:
            n = len(names)

            def texts() -> Iterator[str]:
                for number, name in enumerate(names):
                    if number % 1000 == 0 and n >= CACHE_MIN_FILES:
                        stage = f"reading {path} for the first time ({n:,} files) ..."
                        progress(number, n, stage=stage, unit="files")
                    yield format_episode(read_episode(path / name, words=words, symbols=symbols))

            packed = CompressedTexts.pack(texts())
            try:
                if n >= CACHE_MIN_FILES:
                    packed.save(file, digest)
            except BimlError as error:
                problem = f"could not keep the episodes for the next start: {error}"
                progress(n, n, stage=problem, unit="files")
        return cls(path, names, packed)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Episode:
        return parse_episode(self.packed[index], source=str(self.path / self.names[index]))


FileListing = Sequence[tuple[str, int, int]]
"""Name, size in bytes and modification time in nanoseconds of each episode file, by name."""


def _list_files(path: Path) -> FileListing:
    try:
        with os.scandir(path) as entries:
            files = [
                (entry.name, (stat := entry.stat()).st_size, stat.st_mtime_ns)
                for entry in entries
                if entry.name.endswith(".txt")
                and not entry.name.startswith(".")
                and entry.is_file()  # reading a pipe would not end
            ]
    except OSError as error:
        raise BimlError(f"{path}: not a readable folder ({error.strerror or error})") from error
    if not files:
        raise BimlError(
            f"{path}: no episode file (*.txt) in this folder; "
            "check its name, or remove the folder if it is not needed"
        )
    return sorted(files)


def _digest(path: Path, *what: object) -> str:
    return blake2b(repr((str(path.resolve()), *what)).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class CompressedTexts:
    """Many short texts, each compressed on its own with a shared dictionary.

    About 250 bytes an episode. Mapped from a file, so that processes share the memory.
    """

    offsets: "array[int]"
    dictionary: bytes
    data: "bytes | mmap.mmap"
    data_start: int = 0
    file: Path | None = None

    @classmethod
    def pack(cls, texts: Iterator[str]) -> "CompressedTexts":
        """Compress the texts; the first 200 make the dictionary."""
        first = [text.encode() for _, text in zip(range(200), texts, strict=False)]
        dictionary = b"".join(first)[-_DICTIONARY_BYTES:]
        ends, body = [], bytearray()
        for text in chain(first, (text.encode() for text in texts)):
            packer = zlib.compressobj(6, zdict=dictionary)
            body.extend(packer.compress(text) + packer.flush())
            ends.append(len(body))
        return cls(array("Q", ends), dictionary, bytes(body))

    def __getitem__(self, index: int) -> str:
        begin = self.offsets[index - 1] if index else 0
        text = self.data[self.data_start + begin : self.data_start + self.offsets[index]]
        try:
            return zlib.decompressobj(zdict=self.dictionary).decompress(text).decode()
        except zlib.error as error:
            raise BimlError(f"{self.file}: damaged; delete it and start again") from error

    def save(self, file: Path, digest: str) -> None:
        """Write the texts to a file, which `load` maps into memory."""
        header = {
            "format": _CACHE_FORMAT,
            "digest": digest,
            "count": len(self.offsets),
            "dictionary": len(self.dictionary),
            "body": len(self.data),
        }
        start = json.dumps(header).encode() + b"\n"
        with atomic_write(file) as out:
            out.writelines((start, self.offsets.tobytes(), self.dictionary, self.data))

    @classmethod
    def load(cls, file: Path, digest: str) -> "CompressedTexts | None":
        """Map a file of this digest into memory; None if there is none, or it is incomplete."""
        try:
            with open(file, "rb") as opened:
                line = opened.readline(4096)
                header = json.loads(line)
                if (header["format"], header["digest"]) != (_CACHE_FORMAT, digest):
                    return None
                mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
            ends_at = len(line) + 8 * header["count"]
            start = ends_at + header["dictionary"]
            if len(mapped) != start + header["body"]:
                return None
            ends = array("Q", mapped[len(line) : ends_at])
            return cls(ends, mapped[ends_at:start], mapped, start, file)
        except (OSError, ValueError, KeyError, TypeError):
            return None
