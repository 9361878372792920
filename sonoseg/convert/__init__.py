"""`sonoseg convert`: annotated images into another annotation format."""
