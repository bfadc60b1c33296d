"""The parts of the offline analysis: what was observed, what two versions would show, what the figures say, and the page."""
