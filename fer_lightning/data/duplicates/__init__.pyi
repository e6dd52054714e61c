from .audit import Findings as Findings
from .index import Copies as Copies
from .near import near_pairs as near_pairs
