"""What is to be known of a compiled engine without running it: its header, why it does not load, its precision."""
