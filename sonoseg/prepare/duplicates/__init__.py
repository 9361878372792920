"""Pictures that are the same or almost the same: under other names, of other patients, annotated twice."""
