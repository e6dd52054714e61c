from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from fer_lightning.deploy import demo_memory
from fer_lightning.deploy.demo_memory import PictureStore, Rate, Recent, Seen
from fer_lightning.inference.predictions import UNCERTAIN, Prediction

BOXES = [(10.0, 10.0, 100.0, 80.0), (60.0, 40.0, 20.0, 20.0), (200.0, 5.0, 30.0, 30.0)]


def test_the_oldest_is_forgotten_where_all_together_are_too_large():
    recent = Recent[str](max_bytes=10)
    for key in "abc":
        recent.put(key, key, 4)
    assert [recent.get(key) for key in "abc"] == [None, "b", "c"]
    recent.put("b", "new", 8)
    assert recent.get("b") == "new" and recent.get("c") is None
    recent.put("large", "large", 99)  # larger than all may be: it is remembered alone
    assert recent.get("large") == "large" and len(recent) == 1
    recent.pop("large")
    recent.pop("large")
    assert len(recent) == 0


def test_everything_is_forgotten_after_a_time():
    recent = Recent[str](max_bytes=10, seconds=0.05)
    recent.put("a", "a", 1)
    assert recent.get("a") == "a"
    time.sleep(0.06)
    assert recent.get("a") is None and len(recent) == 1
    recent.put("b", "b", 1)
    recent.forget_old()
    assert len(recent) == 1 and recent.get("b") == "b"


def test_threads_add_while_others_forget():
    """The clean-up of Gradio, which this replaces, ended for good when an upload came meanwhile."""
    recent = Recent[int](max_bytes=50, seconds=0.001)
    failures = []

    def work(name: int) -> None:
        try:
            for number in range(300):
                recent.put(f"{name} {number % 7}", number, 1)
                recent.forget_old()
                recent.get(f"{name} {number % 5}")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and len(recent) <= 50


def test_a_picture_belongs_to_the_first_page_that_has_it_read():
    store = PictureStore(max_bytes=100)
    name = store.add(b"picture", "image/png")
    assert len(name) == 32 and name != store.add(b"picture", "image/png")
    assert store.belongs_to(name, "a") and store.belongs_to(name, "a")
    assert not store.belongs_to(name, "b")
    assert not store.belongs_to("/etc/passwd", "a")


def test_a_rate_allows_so_many_within_a_minute(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(demo_memory.time, "monotonic", lambda: now[0])
    rate = Rate(2)
    allowed = []
    for now[0] in (0.0, 30.0, 59.0, 60.0, 61.0, 90.0):
        allowed.append(rate.allows_one_more())
    assert allowed == [True, True, False, True, False, True]


def seen(chosen: int) -> Seen:
    face = np.zeros((48, 48, 1), np.uint8)
    faces = [Prediction(box, "happy", 1.0, {"happy": 1.0}, face, None) for box in BOXES]
    return Seen("ferplus", np.zeros((100, 300, 3), np.uint8), faces, chosen)


@pytest.mark.parametrize(
    ("x", "y", "expected"), [(20, 20, 0), (70, 50, 1), (210, 34, 2), (229, 36, 0), (0, 0, 0), (110, 90, 0)]
)
def test_a_place_means_the_smallest_face_around_it(x, y, expected):
    assert seen(0).face_at(x, y) == expected


def test_a_place_without_a_face_leaves_the_choice():
    assert seen(2).face_at(150, 50) == 2
    assert seen(2).face.box == BOXES[2]


def test_the_most_probable_class_of_an_uncertain_face():
    face = Prediction(
        BOXES[0], UNCERTAIN, 0.4, {"sad": 0.3, "happy": 0.4, "fear": 0.3}, np.zeros((48, 48, 1), np.uint8)
    )
    assert Seen("ferplus", np.zeros((100, 300, 3), np.uint8), [face]).most_probable == "happy"
