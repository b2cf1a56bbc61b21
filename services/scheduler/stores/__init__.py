"""Where what must outlive the scheduler is kept."""
