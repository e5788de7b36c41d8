"""What is measured on trained weights: correlation (R_p), planes, loss surfaces and how rugged they are."""
