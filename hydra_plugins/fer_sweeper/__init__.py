"""Hydra sweeper of every Optuna sampler, MBOA among them.

Hydra imports every module of its plugins whenever it starts: what is heavy is imported inside functions here.
"""
