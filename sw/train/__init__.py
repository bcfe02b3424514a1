"""Training and fine-tuning in PyTorch; the only modules that need the extra ``train``."""
