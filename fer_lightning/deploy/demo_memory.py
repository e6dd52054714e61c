"""What the page remembers of its visitors and their pictures: in memory alone, and not for long."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from fer_lightning.inference.predictor import Prediction

T = TypeVar("T")
FORGET_AFTER = 600  # seconds


@dataclass
class Picture:
    """A picture file in memory.

    Attributes:
        content: The bytes of the file.
        media_type: How a browser is to read them.
        session: The page that uploaded it: the first that asks for it to be read; None before.
    """

    content: bytes
    media_type: str
    session: str | None = None


class Recent(Generic[T]):
    """A mapping that forgets: everything after a time, and the oldest where all together become too large.

    Args:
        max_bytes: Size of all values together.
        seconds: How long a value is remembered.
    """

    def __init__(self, max_bytes: float, seconds: float = FORGET_AFTER) -> None:
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._bytes = 0
        self._entries: OrderedDict[str, tuple[T, int, float]] = OrderedDict()
        self._lock = threading.Lock()  # pictures come from the event loop, and from the threads that draw them

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, key: str, value: T, size: int) -> None:
        """Remembers a value of `size` bytes, instead of what the key had before."""
        with self._lock:
            self._drop(key)
            self._entries[key] = (value, size, time.monotonic())
            self._bytes += size
            while self._bytes > self._max_bytes and len(self._entries) > 1:
                self._drop(next(iter(self._entries)))

    def get(self, key: str) -> T | None:
        """The value of a key; None where it has none, or no longer."""
        entry = self._entries.get(key)
        return entry[0] if entry is not None and time.monotonic() - entry[2] < self._seconds else None

    def pop(self, key: str) -> None:
        """Forgets a value."""
        with self._lock:
            self._drop(key)

    def forget_old(self) -> None:
        """Forgets what is older than it may become."""
        with self._lock:
            limit = time.monotonic() - self._seconds
            for key in [key for key, (_, _, since) in self._entries.items() if since <= limit]:
                self._drop(key)

    def _drop(self, key: str) -> None:
        _, size, _ = self._entries.pop(key, (None, 0, 0.0))
        self._bytes -= size


class PictureStore(Recent[Picture]):
    """Pictures under names that cannot be guessed."""

    def add(self, content: bytes, media_type: str) -> str:
        """Remembers a picture; returns its name."""
        name = secrets.token_hex(16)
        self.put(name, Picture(content, media_type), len(content))
        return name

    def belongs_to(self, name: str, session: str) -> bool:
        """Whether a page may have a picture read: the first that asks may, and from then on no other."""
        picture = self.get(name)
        if picture is not None and picture.session is None:
            picture.session = session
        return picture is not None and picture.session == session


class Rate:
    """A number of events a minute.

    Args:
        limit: How many are allowed within any 60 seconds.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._times: deque[float] = deque()

    def allows_one_more(self) -> bool:
        """Counts an event, where it is allowed."""
        now = time.monotonic()
        while self._times and self._times[0] <= now - 60:
            self._times.popleft()
        if len(self._times) >= self._limit:
            return False
        self._times.append(now)
        return True


@dataclass(frozen=True)
class Seen:
    """A picture and what was read in it.

    Attributes:
        source: The net that read it.
        picture: RGB, uint8 `(H, W, 3)`.
        predictions: Its faces, the largest first; not empty.
        chosen: Index of the one that is looked at.
    """

    source: str
    picture: np.ndarray
    predictions: list[Prediction]
    chosen: int = 0

    @property
    def face(self) -> Prediction:
        """The face that is looked at."""
        return self.predictions[self.chosen]

    @property
    def most_probable(self) -> str:
        """Class of the face that is looked at; its label may say that none is probable enough."""
        probabilities = self.face.probabilities
        return max(probabilities, key=lambda name: probabilities[name])

    def face_at(self, x: float, y: float) -> int:
        """Index of the smallest face around a place, in pixels; of the one that is looked at where there is none."""
        around = [
            (box[2] * box[3], index)
            for index, box in enumerate(prediction.box for prediction in self.predictions)
            if 0 <= x - box[0] <= box[2] and 0 <= y - box[1] <= box[3]
        ]
        return min(around)[1] if around else self.chosen
