"""From a few measured points to a statement: intervals, and the rate that one curve saves against another."""
