"""Two problems of the CEC 2017 competition in 10 dimensions, with the organisers' own shift and matrix.

`cec2017_f4.txt` and `cec2017_f9.txt` hold the first 10 numbers of `shift_data_<k>.txt` and the whole of
`M_<k>_D10.txt`, as published with the competition (https://github.com/P-N-Suganthan/CEC2017-BoundContrained). The
matrices are no pure rotations: their condition number is 2, as the problem book says.

Readings: the numbers of the functions are those of the book with F2 still counted, so F4 is Rosenbrock and F9 is Levy.
Copies of the published code scale F9 by 1 or by 5.12/100; the book's 5.12/100 is used.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from fer_lightning.search.landscapes import levy, rosenbrock

Landscape = Callable[[np.ndarray], float]

_FUNCTIONS: dict[int, tuple[Landscape, float]] = {4: (rosenbrock, 2.048 / 100), 9: (levy, 5.12 / 100)}


def cec2017(number: int) -> tuple[Landscape, np.ndarray]:
    """Builds `F_k(x) = f(M s (x - o)) + 100 k` on the box [-100, 100]^10.

    Args:
        number: k, 4 (Rosenbrock) or 9 (Levy).

    Returns:
        The function of a vector `(10,)`, and its optimum o `(10,)`, where it is 100 k.
    """
    function, scale = _FUNCTIONS[number]
    shift, *rows = np.loadtxt(Path(__file__).with_name(f"cec2017_f{number}.txt"))
    matrix = scale * np.array(rows)
    return lambda x: function(matrix @ (x - shift)) + 100 * number, shift
