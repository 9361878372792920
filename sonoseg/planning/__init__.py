"""What a dataset is like, and the settings that follow from it, each with its reason."""
