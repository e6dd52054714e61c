"""Short-lived in-memory storage of the demo's visitors and pictures."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from fer_lightning.inference.predictions import Prediction

T = TypeVar("T")
FORGET_AFTER = 600  # seconds


@dataclass
class Picture:
    """A picture file in memory.

    Attributes:
        content: Bytes of the file.
        media_type: Media type for the browser.
        session: Session that owns the picture, the first that requests a prediction; None before.
    """

    content: bytes
    media_type: str
    session: str | None = None


class Recent(Generic[T]):
    """Mapping whose values expire after a time, and whose oldest values are dropped where the total is too large.

    Args:
        max_bytes: Maximum size of all values together.
        seconds: Lifetime of a value.
    """

    def __init__(self, max_bytes: float, seconds: float = FORGET_AFTER) -> None:
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._bytes = 0
        self._entries: OrderedDict[str, tuple[T, int, float]] = OrderedDict()
        self._lock = threading.Lock()  # accessed by the event loop and by worker threads

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, key: str, value: T, size: int) -> None:
        """Stores a value of `size` bytes, replacing the previous value of the key."""
        with self._lock:
            self._drop(key)
            self._entries[key] = (value, size, time.monotonic())
            self._bytes += size
            while self._bytes > self._max_bytes and len(self._entries) > 1:
                self._drop(next(iter(self._entries)))

    def get(self, key: str) -> T | None:
        """Value of a key, None where it is unknown or expired."""
        entry = self._entries.get(key)
        return entry[0] if entry is not None and time.monotonic() - entry[2] < self._seconds else None

    def pop(self, key: str) -> None:
        """Removes a value."""
        with self._lock:
            self._drop(key)

    def forget_old(self) -> None:
        """Removes expired values."""
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
        """Stores a picture and returns its random name."""
        name = secrets.token_hex(16)
        self.put(name, Picture(content, media_type), len(content))
        return name

    def belongs_to(self, name: str, session: str) -> bool:
        """Whether a session owns a picture; the first session that asks becomes its owner."""
        picture = self.get(name)
        if picture is not None and picture.session is None:
            picture.session = session
        return picture is not None and picture.session == session


class Rate:
    """Rate limit: at most `limit` events within any 60 seconds."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._times: deque[float] = deque()

    def allows_one_more(self) -> bool:
        """Whether another event is allowed, which is then counted."""
        now = time.monotonic()
        while self._times and self._times[0] <= now - 60:
            self._times.popleft()
        if len(self._times) >= self._limit:
            return False
        self._times.append(now)
        return True


@dataclass(frozen=True)
class Seen:
    """A picture with its predictions.

    Attributes:
        source: Net that made the predictions.
        picture: RGB, uint8 `(H, W, 3)`.
        predictions: Predictions of its faces, the largest first; not empty.
        chosen: Index of the selected face.
    """

    source: str
    picture: np.ndarray
    predictions: list[Prediction]
    chosen: int = 0

    @property
    def face(self) -> Prediction:
        """Prediction of the selected face."""
        return self.predictions[self.chosen]

    @property
    def most_probable(self) -> str:
        """Most probable class of the selected face, also where its label is uncertain."""
        probabilities = self.face.probabilities
        return max(probabilities, key=lambda name: probabilities[name])

    def face_at(self, x: float, y: float) -> int:
        """Index of the smallest face around a place in pixels; of the selected one where there is none."""
        around = [
            (box[2] * box[3], index)
            for index, box in enumerate(prediction.box for prediction in self.predictions)
            if 0 <= x - box[0] <= box[2] and 0 <= y - box[1] <= box[3]
        ]
        return min(around)[1] if around else self.chosen
