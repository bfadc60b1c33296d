"""Studies: how a figure in docs/ was found, to be repeated by whoever doubts it. Nothing that runs depends on them."""
