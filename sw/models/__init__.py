"""Reference models: pretrained networks, computed in NumPy."""
