"""What a process is: puts the program together."""
