"""Models: networks with their weights and frozen features, and rules and forests on morphologies."""
