"""Tells when a file has changed, however it was changed: in place, by rename, or by another link to it."""

from pathlib import Path

Mark = tuple[int, ...] | None
"""What tells one state of a file from another; None: it is not there."""
LOOK_EACH_S = 1.0
SETTLE_S = 0.5
"""How long a file must have been left alone before it is read: editors and copies write it piece by piece."""


class FileWatch:
    """Looks at a file, through links, and tells once of each change, when it has settled."""

    def __init__(self, path: Path, settle_s: float = SETTLE_S) -> None:
        self._path = path
        self._settle_s = settle_s
        self._known = self._seen = self.mark()
        self._since_s = float("-inf")

    def mark(self) -> Mark:
        """Return what tells the file as it is now from another state of it."""
        try:
            told = self._path.stat()
        except OSError:
            return None
        return told.st_mtime_ns, told.st_ctime_ns, told.st_size, told.st_ino, told.st_dev

    def taken(self, mark: Mark) -> None:
        """Take note that the file was read in this state, so that nothing need be told of it."""
        self._known = mark

    def has_changed(self, now_s: float) -> bool:
        """Look, and tell whether the file is another than the one last told of, and was left alone for a while."""
        mark = self.mark()
        if mark != self._seen:
            self._seen, self._since_s = mark, now_s
        if mark == self._known or now_s - self._since_s < self._settle_s:
            return False
        self._known = mark
        return True

    @property
    def is_settling(self) -> bool:
        """Whether a change was seen that is not told of yet."""
        return self._seen != self._known
