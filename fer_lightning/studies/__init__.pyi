from .comparison_table import build_comparison as build_comparison
from .definition import StudyDefinition as StudyDefinition
from .markdown import write_study as write_study
from .presentation import judge as judge
from .report import StudyReport as StudyReport
from .report import build_study as build_study
