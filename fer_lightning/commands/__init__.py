"""Commands of `fer`, one file each: the only code that sees the Hydra config.

`run` of a command takes the config that Hydra composes from its file in `conf/`, as `cli.COMMANDS` lists them.
`instantiate` builds objects from a config, `finish` draws, prints and logs a finished run.
"""
