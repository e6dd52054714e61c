from __future__ import annotations

import numpy as np
import pytest

from fer_lightning.plots.contact_sheet import draw_contact_sheet, error_caption


@pytest.mark.parametrize("channels", [1, 3])
def test_places_images_row_by_row_without_overlap(channels):
    images = np.random.default_rng(0).integers(0, 256, (7, 8, 8, channels), dtype=np.uint8)
    panel = draw_contact_sheet(images, [str(number) for number in range(7)], columns=5, title="Faces").axes[0]
    shown = [image.get_array() for image in panel.images]
    assert all(np.array_equal(found, np.broadcast_to(given, (8, 8, 3))) for found, given in zip(shown, images))
    left, right, bottom, top = np.array([image.get_extent() for image in panel.images]).T
    assert (left[:5] < left[:5] + 1).all() and (left[1:5] > right[:4]).all()
    assert (top[5:] > bottom[:2]).all()
    assert np.allclose(bottom - top, right - left)


def test_nothing_reaches_beyond_the_page():
    images = np.zeros((9, 8, 8, 1), np.uint8)
    figure = draw_contact_sheet(images, ["surprise\nneutral 100%"] * 9, columns=5, title="A title " * 20)
    figure.canvas.draw()
    page = figure.bbox
    for text in figure.axes[0].texts:
        box = text.get_window_extent()
        assert box.x0 >= page.x0 and box.x1 <= page.x1 and box.y0 >= page.y0 and box.y1 <= page.y1, text.get_text()


def test_captions_tell_truth_and_belief():
    probabilities = np.array([0.07, 0.93, 0.0])
    assert error_caption(2, probabilities, ["angry", "sad", "fear"]) == "true fear\nsad 93%"


@pytest.mark.filterwarnings("error")
def test_a_sheet_without_images():
    draw_contact_sheet(np.zeros((0, 4, 4, 1), np.uint8), [], 5, "Nothing").savefig("/dev/null", format="png")


@pytest.mark.parametrize(
    "images, captions",
    [
        (np.zeros((1, 4, 4, 1)), ["a"]),
        (np.zeros((1, 4, 4), np.uint8), ["a"]),
        (np.zeros((1, 4, 4, 2), np.uint8), ["a"]),
        (np.zeros((2, 4, 4, 1), np.uint8), ["a"]),
    ],
)
def test_refuses_other_arrays(images, captions):
    with pytest.raises(ValueError):
        draw_contact_sheet(images, captions, 5, "Faces")
