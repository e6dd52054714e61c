"""The Modified Bobcat Optimization Algorithm (MBOA) as an Optuna sampler."""
