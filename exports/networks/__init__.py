"""Networks of our own, one file an architecture. Importing one needs PyTorch; importing this package does not."""
