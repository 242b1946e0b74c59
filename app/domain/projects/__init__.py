"""Projects: shops that share a service, and nothing else."""
