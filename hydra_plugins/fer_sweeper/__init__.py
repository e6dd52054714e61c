"""Hydra sweeper for all Optuna samplers, including MBOA.

Hydra imports all modules of its plugins at every start, so heavy packages are imported inside functions here.
"""
