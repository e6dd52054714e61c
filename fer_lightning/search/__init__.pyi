from .figures import draw_search as draw_search
from .mboa import MBOASampler as MBOASampler
from .resumable import RepeatableSampler as RepeatableSampler
from .storage import open_storage as open_storage
