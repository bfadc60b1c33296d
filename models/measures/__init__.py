"""What is measured, each idea in a file of its own with its formula and source on top. Pure."""
