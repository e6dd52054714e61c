from .latency import time_net as time_net
from .problems import Problem as Problem
from .samplers import run_study as run_study
from .training import training_rates as training_rates
