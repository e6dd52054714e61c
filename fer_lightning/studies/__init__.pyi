from .definition import StudyDefinition as StudyDefinition
from .ledger import build_ledger as build_ledger
from .markdown import write_study as write_study
from .presentation import judge as judge
from .report import StudyReport as StudyReport
from .report import build_study as build_study
