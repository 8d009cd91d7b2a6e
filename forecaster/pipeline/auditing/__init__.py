"""Other futures for the same past, and every stage of the pipeline held against them."""
