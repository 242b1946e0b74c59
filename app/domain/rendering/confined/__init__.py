"""What runs in the confined process. It imports nothing else of the program."""
