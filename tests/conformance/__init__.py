"""What every store must do alike, and the oracle that says what that is."""
