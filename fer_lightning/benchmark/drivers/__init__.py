"""Programs that the pipeline benchmark times, each in its own process."""
