"""A network, a loss, a data set and an augmentation of your own, chosen by the configs in `../conf`."""
