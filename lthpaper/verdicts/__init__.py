"""What results say: conditions, tickets, observations, the guideline, the paper's claims and numbers."""
