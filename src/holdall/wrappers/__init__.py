"""What cuts across stores, written once around an executor."""
