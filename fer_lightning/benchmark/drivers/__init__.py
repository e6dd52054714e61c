"""Programs that the pipeline benchmark times in processes of their own."""
