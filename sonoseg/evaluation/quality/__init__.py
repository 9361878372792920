"""Quality models: fitted to results of images that a network was not trained on, and validated."""
