"""What lies in a folder of annotated images, and the task file that follows from it: the command `sonoseg new-task`."""
