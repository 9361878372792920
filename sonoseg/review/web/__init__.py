"""The server of the review page: who may use it, what it answers, and how it runs."""
