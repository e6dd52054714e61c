"""The commands of `fer`, one file each: the only code that sees the Hydra config.

`instantiate` builds objects from a config, `finish` draws, prints and logs a finished run.
"""
