"""From a panel to a fitted network, and from a stored version back to one at work."""
