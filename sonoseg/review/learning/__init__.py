"""What is learned from reviews: data folders for training, what to label next, and annotations that may be wrong."""
