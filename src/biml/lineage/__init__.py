"""How a model came to be: the learning curves of the runs that made it, and its card."""
