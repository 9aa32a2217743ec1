"""Reports: pure functions of one record; they train nothing and measure nothing."""
