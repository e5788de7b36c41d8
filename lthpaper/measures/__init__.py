"""What is measured on trained weights: R_p, distance, loss surfaces, stability, a ticket's cost and speed."""
